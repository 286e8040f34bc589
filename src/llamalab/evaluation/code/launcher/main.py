"""The loop of a launcher: a program comes in as a line of JSON, a verdict goes out as one."""

import gc
import importlib
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Sequence
from typing import BinaryIO

from llamalab.evaluation.code.launcher import kernel
from llamalab.evaluation.code.launcher.attempt import REASON_BYTES, attempt
from llamalab.evaluation.code.launcher.confinement import Confinement
from llamalab.evaluation.code.limits import Limits

# Imported once here instead of in each program that uses them.
_OFTEN_USED = (
    "array", "bisect", "cmath", "collections.abc", "copy", "dataclasses", "datetime", "decimal", "enum", "fractions",
    "functools", "hashlib", "heapq", "itertools", "json", "math", "operator", "os", "random", "re", "statistics",
    "string", "time", "traceback", "typing",
)  # fmt: skip
_POLL_SECONDS = 0.02
_OPEN_FILES = 64  # a launcher has a few, and closing all those that a system allows takes longer than most programs


def main() -> None:
    """Reads its settings from the command line, says what confines programs, then serves until its input ends."""
    settings = json.loads(sys.argv[1])
    # Programs see neither our packages nor what the evaluation's interpreter imports from elsewhere.
    sys.path[:] = settings["python"]
    for name in _OFTEN_USED:
        importlib.import_module(name)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the evaluation decides when to stop
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    confinement = Confinement(Limits(**settings["limits"]), settings["scratch"], settings["python"], settings["layers"])
    if confinement.alone:
        _go_on_as_first_process()
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    gc.collect()
    gc.freeze()  # so that a program's collections do not copy our pages
    passed, reason = run(["assert True"], confinement)
    if not passed:
        sys.exit(f"a program that does nothing fails here: {reason}")
    _say(answers, confinement.facts)
    for line in requests:
        passed, reason = run(json.loads(line), confinement)
        _say(answers, {"passed": passed, "reason": reason})


def _say(answers: BinaryIO, value: object) -> None:
    answers.write(json.dumps(value).encode() + b"\n")
    answers.flush()


def _go_on_as_first_process() -> None:
    """Only a new process is in the new process namespace, and as its first one it ends all others with it."""
    pid = os.fork()
    if pid:
        os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) & 0xFF)
    kernel.die_with_parent(signal.SIGKILL)


def run(parts: Sequence[str], confinement: Confinement) -> tuple[bool, str]:
    """Whether a program passes, and why not ("" if it does)."""
    folder = confinement.fresh_folder()
    receive, report = os.pipe()
    secret = [os.urandom(32)]
    pid = os.fork()
    if pid == 0:
        try:
            _keep_only(report)
            confinement.enter(folder)
            attempt(parts, 3, secret.pop())
        except OSError as error:
            os.write(3, f"cannot be confined: {error}".encode())
        finally:
            os._exit(2)
    os.close(report)
    message, status = _await(pid, receive, confinement)
    os.close(receive)
    confinement.remove_folder(folder)
    if message == secret[0]:
        return True, ""
    return False, _reason(message, status)


def _keep_only(report: int) -> None:
    """Nothing is open but null as the standard streams, and the pipe as 3."""
    os.dup2(0, 2)
    if report != 3:
        os.dup2(report, 3)
    os.closerange(4, _OPEN_FILES)


def _await(pid: int, receive: int, confinement: Confinement) -> tuple[bytes, int | None]:
    """What the program reported and its wait status, None where its time ran out; nothing of it is left."""
    end = time.monotonic() + confinement.limits.wall_seconds
    message, status = b"", None
    silent = ended = False
    while not ended and time.monotonic() < end and len(message) <= REASON_BYTES:
        if silent:
            time.sleep(0.0005)
        elif select.select([receive], [], [], _POLL_SECONDS)[0]:
            got = os.read(receive, REASON_BYTES + 1)
            message += got
            silent = not got
            continue
        done, found = os.waitpid(pid, os.WNOHANG)
        if done:
            ended, status = True, found
    _kill_all(pid, confinement.alone, ended)
    while len(message) <= REASON_BYTES and (got := os.read(receive, REASON_BYTES + 1)):
        message += got  # what came between the last look and its end
    return message, status


def _kill_all(pid: int, alone: bool, ended: bool) -> None:
    if alone:
        try:
            os.kill(-1, signal.SIGKILL)
        except ProcessLookupError:
            return
    elif not ended:
        os.kill(pid, signal.SIGKILL)
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _reason(message: bytes, status: int | None) -> str:
    if message:
        return message[:REASON_BYTES].decode("utf-8", "replace")
    if status is None:
        return "ran out of time"
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return "ran out of CPU time" if number == signal.SIGXCPU else f"ended by {signal.Signals(number).name}"
    return "ended before its tests did"
