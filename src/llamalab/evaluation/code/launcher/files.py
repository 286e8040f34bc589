"""What a program sees of the file system: a root of its own, or else, by Landlock, what it may open of the real one."""

import contextlib
import os
from collections.abc import Sequence

from llamalab.evaluation.code.launcher import kernel

WORK = "/program"
_SYSTEM = ("/usr", "/bin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/etc/localtime")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")

# include/uapi/linux/landlock.h
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIRECTORY = 0x1, 0x2, 0x4, 0x8
_READ = _EXECUTE | _READ_FILE | _READ_DIRECTORY
_RIGHTS_BY_VERSION = ((3, 1 << 14), (2, 1 << 13))  # truncate, refer
_RIGHTS_OF_VERSION_1 = (1 << 13) - 1
_FOR_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | 1 << 14


def enter_private_root(scratch: str, python: Sequence[str]) -> None:
    """Swaps the root for one in memory that holds, read-only, the system's libraries, Python and four devices.

    Needs a mount namespace of one's own. `WORK` is an empty folder in it.

    Args:
        scratch: an empty folder to build it at.
        python: folders that programs import from.

    Raises:
        OSError: it is not allowed here; the root is still the old one.
    """
    kernel.mount("none", "/", None, kernel.RECURSIVE | kernel.PRIVATE)
    kernel.mount("tmpfs", scratch, "tmpfs", kernel.NO_SUID | kernel.NO_DEVICES, "mode=755,size=1m")
    for path in _outermost([*_SYSTEM, *python]):
        _show(path, scratch, kernel.ATTRIBUTE_NO_DEVICES)
    for path in _DEVICES:
        _show(path, scratch, 0)
    old = f"{scratch}/old"
    for folder in (old, f"{scratch}{WORK}", f"{scratch}/tmp"):
        os.makedirs(folder, exist_ok=True)  # a Python below /tmp has made that one
    kernel.pivot_root(scratch, old)
    os.chdir("/")
    kernel.unmount("/old")
    os.rmdir("/old")
    kernel.restrict_mount("/", kernel.ATTRIBUTE_READ_ONLY, recursive=False)


def fresh_work(size: int) -> None:
    """Puts an empty file system in memory, of at most `size` bytes, at `WORK` in the private root."""
    with contextlib.suppress(OSError):  # the first time there is none
        kernel.unmount(WORK)
    options = f"mode=777,size={size},nr_inodes=4096"
    kernel.mount("tmpfs", WORK, "tmpfs", kernel.NO_SUID | kernel.NO_DEVICES, options)


def _show(path: str, root: str, attributes: int) -> None:
    target = root + path
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.islink(path) and os.path.isdir(path):
        os.symlink(os.readlink(path), target)  # /lib is one to usr/lib
    elif os.path.exists(path):
        if os.path.isdir(path):
            os.makedirs(target, exist_ok=True)
        else:
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY))
        kernel.mount(path, target, None, kernel.BIND | kernel.RECURSIVE)
        attributes |= kernel.ATTRIBUTE_READ_ONLY | kernel.ATTRIBUTE_NO_SUID
        kernel.restrict_mount(target, attributes, recursive=True)


def _outermost(paths: Sequence[str]) -> list[str]:
    """Those that lie in no other one."""
    chosen: list[str] = []
    for path in sorted({os.path.normpath(path) for path in paths}):
        if not any(path.startswith(f"{other}/") for other in chosen if not os.path.islink(other)):
            chosen.append(path)
    return chosen


def restrict_by_landlock(work: str, python: Sequence[str]) -> None:
    """Lets this process read the system's libraries and Python, and change files in `work` only.

    Needs `kernel.no_new_privileges` before.

    Raises:
        OSError: the kernel has no Landlock (Linux 5.13), or it is off.
    """
    version = kernel.landlock_version()
    every = _RIGHTS_OF_VERSION_1
    for since, right in _RIGHTS_BY_VERSION:
        every |= right if version >= since else 0
    ruleset = kernel.landlock_ruleset(every)
    allowed = [(work, every), *((path, _READ) for path in (*_SYSTEM, *python))]
    allowed += [(path, _READ_FILE | _WRITE_FILE) for path in _DEVICES]
    for path, rights in allowed:
        with contextlib.suppress(FileNotFoundError, PermissionError):  # what is not reached needs no right
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
            kernel.landlock_allow(ruleset, descriptor, rights if os.path.isdir(path) else rights & every & _FOR_FILES)
            os.close(descriptor)
    kernel.landlock_restrict(ruleset)
    os.close(ruleset)
