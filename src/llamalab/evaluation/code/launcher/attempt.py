"""Runs one program in a process that is already confined.

The program shares its interpreter with what checks it, as its tests have to call it. So what says "passed" must be out
of its reach: the launcher takes no exit code for an answer, only a secret, and the secret lies in an iterator that
C code works off. No Python frame, variable or module leads there, and the functions that could find it in memory are
refused. What a program can still do is return objects that lie about being equal; that is true of every such check.
"""

import collections
import itertools
import operator
import os
import sys
import types
from collections.abc import Sequence

REASON_BYTES = 300


def attempt(parts: Sequence[str], report: int, secret: bytes) -> None:
    """Executes the parts in one module; only if all end, writes the secret to `report`. Never returns.

    The module is not `__main__`: as in Chen et al.'s checker, what a program does as a script is not run.

    Args:
        parts: the program, then its tests. In parts, so that an open quote in the program cannot swallow the tests.
        report: a pipe. It gets a short reason where the program fails.
        secret: what the launcher waits for.
    """
    module = types.ModuleType("program")
    for name in [name for name in sys.modules if name == "__main__" or name.split(".")[0] in ("llamalab", "ctypes")]:
        del sys.modules[name]
    sys.modules["program"] = module
    write, leave = os.write, os._exit
    consume = collections.deque[object](maxlen=0).extend
    calls = [(exec, part, module.__dict__) for part in parts]
    chain = [itertools.starmap(operator.call, iter([*calls, (os.write, report, secret), (os._exit, 0)]))]
    del calls, secret
    sys.addaudithook(_refuse)
    try:
        consume(chain.pop())
    except BaseException as error:
        write(report, _reason(error))
    finally:
        leave(1)


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    """Keeps honest programs honest where the kernel could not be asked to, and the secret from being looked for."""
    if event in {
        "gc.get_objects", "gc.get_referrers", "gc.get_referents", "sys._current_frames", "sys.settrace",
        "sys.setprofile", "sys.monitoring.register_callback", "ctypes.dlopen", "ctypes.dlsym", "os.fork", "os.forkpty",
        "os.exec", "os.posix_spawn", "os.spawn", "os.system", "subprocess.Popen", "pty.spawn", "os.kill", "os.killpg",
        "socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo",
        "socket.gethostbyname", "socket.gethostbyaddr",
    }:  # fmt: skip
        # numpy goes without ctypes if it cannot be imported
        raise (ImportError if event == "ctypes.dlopen" else PermissionError)(f"{event} is not allowed here")


def _reason(error: BaseException) -> bytes:
    """What an exception says; it may be a hostile one."""
    try:
        return f"{type(error).__name__}: {error}".encode("utf-8", "replace")[:REASON_BYTES]
    except BaseException:
        return b"an exception that cannot be shown"
