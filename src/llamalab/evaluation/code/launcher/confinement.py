"""Takes away from a launcher, then from each program, as much as this system allows; says what was."""

import contextlib
import functools
import os
import resource
import shutil
import signal
import tempfile
from collections.abc import Callable, Sequence

from llamalab.evaluation.code.launcher import files, kernel, system_calls
from llamalab.evaluation.code.limits import Limits

# Programs run as a user whom nobody else is, so that the limit on threads counts only theirs.
_USERS_FROM = 1_000_000_000
_NOBODY = 65534
LAYERS = ("namespaces", "system calls", "landlock", "user")


class Confinement:
    """What keeps programs in; made once in a launcher, which it changes for good.

    Args:
        limits: for each program.
        scratch: an empty folder.
        python: folders that programs import from, without links in them.
        layers: those of `LAYERS` to try; a system may refuse any of them.

    Attributes:
        facts: what is in effect, by what it protects.
    """

    def __init__(self, limits: Limits, scratch: str, python: Sequence[str], layers: Sequence[str]) -> None:
        self.limits, self.scratch, self.python, self.layers = limits, scratch, python, layers
        os.umask(0o022)
        self.user = self._user() if "user" in layers else None
        # Tried out before namespaces are left: whatever is started first in a process namespace must outlive the rest.
        self.filtered = "system calls" in layers and _succeeds_in_child(self._filter)
        can_restrict_files = "landlock" in layers and _succeeds_in_child(self._restrict_files)
        can_import = self.user is None or self._can_import_as(self.user)
        namespaces = self._leave_namespaces() if "namespaces" in layers else set()
        self.alone = kernel.NEW_PIDS in namespaces  # once the launcher has gone on in a new process
        self.private = kernel.NEW_MOUNTS in namespaces and _succeeds(self._enter_private_root)
        self.landlocked = can_restrict_files and not self.private
        if self.user is not None and self.landlocked and self.filtered and not can_import:
            # A Python in somebody's home: stripped of all rights but confined by the kernel, the own user will do.
            self.user = None
        self.facts = {
            "network": _first(
                (kernel.NEW_NETWORK in namespaces, "none (own namespace)"),
                (self.filtered, "none (sockets are refused)"),
                (True, "refused by the interpreter only"),
            ),
            "files": _first(
                (self.private, "private root, read-only but for an empty folder in memory"),
                (self.landlocked, "an empty folder, Python and system libraries (Landlock)"),
                (self.user is not None, "as an unprivileged user"),
                (True, "as the evaluating user"),
            ),
            "processes": _first(
                (self.filtered, "one per program, signals to others are refused"),
                # the kernel counts the processes of every user but its own root
                (self.user is not None or os.geteuid() != 0, "one per program, limited by count"),
                (True, "not limited"),
            )
            + (", own process namespace" if self.alone else ""),
            "user": "an unprivileged one" if self.user is not None else "the evaluating one, without privileges",
        }

    def fresh_folder(self) -> str:
        """An empty folder for the next program, which may write there."""
        if self.private:
            files.fresh_work(self.limits.disk_bytes)
            return files.WORK
        folder = tempfile.mkdtemp(dir=self.scratch)
        if self.user is not None:
            os.chown(folder, self.user, self.user)
        return folder

    def remove_folder(self, folder: str) -> None:
        """Call when its program has ended."""
        if not self.private:
            shutil.rmtree(folder, ignore_errors=True)

    def enter(self, folder: str) -> None:
        """In a program's own process, before any of its code runs; on return it has nothing but its limits."""
        os.setsid()
        os.chdir(folder)
        os.environ.update(HOME=folder, TMPDIR=folder)
        self._limit()
        if self.user is not None:
            _become(self.user)
        with contextlib.suppress(OSError):
            kernel.die_with_parent(signal.SIGKILL)
        kernel.no_new_privileges()
        kernel.drop_capabilities()
        if self.landlocked:
            files.restrict_by_landlock(folder, self.python)
        if self.filtered:
            self._filter()

    def _limit(self) -> None:
        limits = self.limits
        # without the filter a program could start others, each with these limits anew, so it gets no second thread
        tasks = limits.threads if self.filtered else 1
        for kind, soft, hard in (
            (resource.RLIMIT_CPU, limits.cpu_seconds, limits.cpu_seconds + 1),
            (resource.RLIMIT_AS, limits.memory_bytes, limits.memory_bytes),
            (resource.RLIMIT_FSIZE, limits.file_bytes, limits.file_bytes),
            (resource.RLIMIT_NOFILE, limits.open_files, limits.open_files),
            (resource.RLIMIT_NPROC, tasks, tasks),
            (resource.RLIMIT_CORE, 0, 0),
        ):
            highest = resource.getrlimit(kind)[1]
            if highest != resource.RLIM_INFINITY:
                soft, hard = min(soft, highest), min(hard, highest)
            resource.setrlimit(kind, (soft, hard))

    def _filter(self) -> None:
        kernel.no_new_privileges()
        kernel.filter_system_calls(system_calls.instructions(os.getpid()))

    def _restrict_files(self) -> None:
        kernel.no_new_privileges()
        files.restrict_by_landlock(self.scratch, self.python)

    def _enter_private_root(self) -> None:
        files.enter_private_root(self.scratch, self.python)
        files.fresh_work(self.limits.disk_bytes)

    def _can_import_as(self, user: int) -> bool:
        def step() -> None:
            _become(user)
            for folder in self.python:
                os.listdir(folder)

        return _succeeds_in_child(step)

    def _user(self) -> int | None:
        """Whom programs run as: a user of this launcher's own, else nobody, else (None) the evaluating user."""
        for user in (_USERS_FROM + os.getpid(), _NOBODY):
            if os.geteuid() == 0 and _succeeds_in_child(functools.partial(_become, user)):
                return user
        return None

    def _leave_namespaces(self) -> set[int]:
        """Those that were left."""
        wanted = (kernel.NEW_MOUNTS, kernel.NEW_NETWORK, kernel.NEW_IPC, kernel.NEW_PIDS)
        left = {flag for flag in wanted if _succeeds(functools.partial(kernel.unshare, flag))}
        if not left and _succeeds_in_child(self._become_root_in_own_namespace):
            self._become_root_in_own_namespace()
            self.user = None  # the only user there
            left = {flag for flag in wanted if _succeeds(functools.partial(kernel.unshare, flag))}
        return left

    @staticmethod
    def _become_root_in_own_namespace() -> None:
        user, group = os.geteuid(), os.getegid()
        kernel.unshare(kernel.NEW_USER)
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)


def _become(user: int) -> None:
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def _succeeds(step: Callable[[], object]) -> bool:
    try:
        step()
    except OSError:
        return False
    return True


def _succeeds_in_child(step: Callable[[], object]) -> bool:
    """Tries out what could not be undone."""
    pid = os.fork()
    if pid == 0:
        os._exit(0 if _succeeds(step) else 1)
    return os.waitpid(pid, 0)[1] == 0


def _first(*choices: tuple[bool, str]) -> str:
    return next(text for holds, text in choices if holds)
