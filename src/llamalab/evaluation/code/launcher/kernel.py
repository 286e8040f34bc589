"""The Linux system calls that the standard library of Python 3.11 has no functions for."""

import ctypes
import os
import struct

NEW_USER, NEW_MOUNTS, NEW_NETWORK, NEW_IPC, NEW_PIDS = 0x10000000, 0x00020000, 0x40000000, 0x08000000, 0x20000000

BIND, RECURSIVE, PRIVATE, NO_SUID, NO_DEVICES = 0x1000, 0x4000, 0x40000, 0x2, 0x4
ATTRIBUTE_READ_ONLY, ATTRIBUTE_NO_SUID, ATTRIBUTE_NO_DEVICES = 0x1, 0x2, 0x4
_DETACH = 2

# the same numbers on every architecture
_MOUNT_SETATTR, _LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 442, 444, 445, 446
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _PR_CAPBSET_DROP = 1, 38, 22, 24
_CAPABILITY_VERSION_3 = 0x20080522
_LAST_CAPABILITY = 40

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _syscall(number: int, *arguments: object) -> int:
    plain = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    return _check(_libc.syscall(ctypes.c_long(number), *plain), f"system call {number}")


def unshare(flags: int) -> None:
    """Leaves the parent's namespaces. Raises OSError where that is not allowed, as all functions here do."""
    _check(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    """mount(2)."""
    texts = [None if text is None else os.fsencode(text) for text in (source, target, kind, options)]
    _check(_libc.mount(texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3]), f"mount {target}")


def unmount(target: str) -> None:
    """Takes the mount away from the tree at once, whatever still uses it."""
    _check(_libc.umount2(os.fsencode(target), _DETACH), f"umount {target}")


def restrict_mount(target: str, attributes: int, recursive: bool) -> None:
    """Adds attributes such as read-only to a mount, `recursive` also to those below it (Linux 5.12)."""
    request = struct.pack("=QQQQ", attributes, 0, 0, 0)
    flags = _AT_RECURSIVE if recursive else 0
    _syscall(_MOUNT_SETATTR, _AT_FDCWD, os.fsencode(target), flags, request, len(request))


def pivot_root(new: str, old: str) -> None:
    """Makes the mount `new` this namespace's root and puts the former one at `old`."""
    number = {"x86_64": 155, "aarch64": 41}.get(os.uname().machine)
    if number is None:
        raise OSError(f"pivot_root: no system call number for {os.uname().machine}")
    _syscall(number, os.fsencode(new), os.fsencode(old))


def die_with_parent(signal_number: int) -> None:
    """Has the kernel send this signal when the parent ends."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0), "prctl")


def no_new_privileges() -> None:
    """From now on no program that is started gains rights, set-user-id ones included."""
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")


def drop_capabilities() -> None:
    """Gives up all capabilities, also those that a start of another program could bring back."""
    for capability in range(_LAST_CAPABILITY + 1):
        # refused where the right to drop is missing already; what counts is that capset below succeeds
        _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    header, none = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), bytes(24)
    _check(_libc.capset(header, none), "capset")


def filter_system_calls(instructions: bytes) -> None:
    """Installs a seccomp filter (classic BPF, 8 bytes an instruction) for this process, for good."""
    code = ctypes.create_string_buffer(instructions, len(instructions))
    program = struct.pack("@HP", len(instructions) // 8, ctypes.addressof(code))
    _check(_libc.prctl(_PR_SET_SECCOMP, 2, program, 0, 0), "seccomp")


def landlock_version() -> int:
    """What the kernel's Landlock can do; raises OSError where there is none."""
    return _syscall(_LANDLOCK_CREATE, None, 0, 1)


def landlock_ruleset(handled: int) -> int:
    """A descriptor of a ruleset over these file system rights."""
    request = struct.pack("=Q", handled)
    return _syscall(_LANDLOCK_CREATE, request, len(request), 0)


def landlock_allow(ruleset: int, folder: int, rights: int) -> None:
    """Allows `rights` beneath the folder (or on the file) with this descriptor."""
    _syscall(_LANDLOCK_ADD, ruleset, 1, struct.pack("=Qi", rights, folder), 0)


def landlock_restrict(ruleset: int) -> None:
    """Restricts this process, for good."""
    _syscall(_LANDLOCK_RESTRICT, ruleset, 0)
