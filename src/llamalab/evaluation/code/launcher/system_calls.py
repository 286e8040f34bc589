"""A seccomp filter: a program is one process that talks to nobody.

It refuses sockets (socketpair stays), new processes and programs (threads stay), signals to others, looking into other
processes, and interfaces of the kernel that no plain program needs. Whatever the kernel itself keeps from a user
without privileges (mounts, modules, the clock) is left to it.
"""

import errno
import os
import struct
from collections.abc import Sequence

# System call numbers: Linux, arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h
_ANYWHERE = {
    "pidfd_send_signal": 424,
    "io_uring_setup": 425,
    "pidfd_open": 434,
    "pidfd_getfd": 438,
    "process_madvise": 440,
}  # fmt: skip
_X86_64 = {
    "shmget": 29, "socket": 41, "fork": 57, "vfork": 58, "execve": 59, "semget": 64, "msgget": 68, "ptrace": 101,
    "rt_sigqueueinfo": 129, "setpriority": 141, "sched_setparam": 142, "sched_setscheduler": 144, "tkill": 200,
    "sched_setaffinity": 203, "mq_open": 240, "add_key": 248, "request_key": 249, "keyctl": 250, "ioprio_set": 251,
    "migrate_pages": 256, "unshare": 272, "move_pages": 279, "rt_tgsigqueueinfo": 297, "perf_event_open": 298,
    "setns": 308, "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312, "sched_setattr": 314, "bpf": 321,
    "execveat": 322, "userfaultfd": 323,
}  # fmt: skip
_AARCH64 = {
    "ioprio_set": 30, "unshare": 97, "ptrace": 117, "sched_setparam": 118, "sched_setscheduler": 119,
    "sched_setaffinity": 122, "tkill": 130, "rt_sigqueueinfo": 138, "setpriority": 140, "mq_open": 180, "msgget": 186,
    "semget": 190, "shmget": 194, "socket": 198, "add_key": 217, "request_key": 218, "keyctl": 219, "execve": 221,
    "migrate_pages": 238, "move_pages": 239, "rt_tgsigqueueinfo": 240, "perf_event_open": 241, "setns": 268,
    "process_vm_readv": 270, "process_vm_writev": 271, "kcmp": 272, "sched_setattr": 274, "bpf": 280, "execveat": 281,
    "userfaultfd": 282,
}  # fmt: skip
# by machine: audit architecture, numbers refused, clone, kill, tgkill, prlimit64
_MACHINES = {
    "x86_64": (0xC000003E, {**_X86_64, **_ANYWHERE}, 56, 62, 234, 302),
    "aarch64": (0xC00000B7, {**_AARCH64, **_ANYWHERE}, 220, 129, 131, 261),
}
_CLONE3 = 435
_CLONE_THREAD = 0x00010000
_X32_BIT = 0x40000000

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data; both machines are little-endian
_ALLOW, _KILL, _FAIL = 0x7FFF0000, 0x80000000, 0x00050000


def instructions(pid: int) -> bytes:
    """The filter for the process `pid`, which may signal itself only (as abort() does).

    Raises:
        OSError: the numbers of this machine's system calls are not known here.
    """
    machine = os.uname().machine
    if machine not in _MACHINES:
        raise OSError(f"no system call numbers for {machine}")
    architecture, refused, clone, kill, tgkill, prlimit = _MACHINES[machine]
    code = [
        _step(_LOAD, _ARCHITECTURE),
        _step(_EQUAL, architecture, 1, 0),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER),
        *([_step(_AT_LEAST, _X32_BIT, 0, 1), _step(_RETURN, _FAIL | errno.EPERM)] if machine == "x86_64" else []),
        # glibc then falls back to clone, whose flags can be looked at
        *_when(_CLONE3, [_step(_RETURN, _FAIL | errno.ENOSYS)]),
        *_when(clone, [_step(_LOAD, _FIRST_ARGUMENT), _step(_ANY_BIT, _CLONE_THREAD, 1, 0), *_refuse_or_allow()]),
    ]
    for number, own in ((kill, (pid,)), (tgkill, (pid,)), (prlimit, (0, pid))):
        code += _when(number, _only_first_argument(own))
    for number in refused.values():
        code += _when(number, [_step(_RETURN, _FAIL | errno.EPERM)])
    code.append(_step(_RETURN, _ALLOW))
    return b"".join(code)


def _step(operation: int, value: int, skip_if_true: int = 0, skip_if_false: int = 0) -> bytes:
    """One struct sock_filter."""
    return struct.pack("=HBBI", operation, skip_if_true, skip_if_false, value)


def _when(number: int, then: Sequence[bytes]) -> list[bytes]:
    """`then`, which ends in returns, if the loaded system call number is this one."""
    return [_step(_EQUAL, number, 0, len(then)), *then]


def _refuse_or_allow() -> list[bytes]:
    """A jump of one lands on the second."""
    return [_step(_RETURN, _FAIL | errno.EPERM), _step(_RETURN, _ALLOW)]


def _only_first_argument(values: Sequence[int]) -> list[bytes]:
    tests = [_step(_EQUAL, value, len(values) - index, 0) for index, value in enumerate(values)]
    return [_step(_LOAD, _FIRST_ARGUMENT), *tests, *_refuse_or_allow()]
