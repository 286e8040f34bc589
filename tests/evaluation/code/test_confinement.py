"""What the kernel itself refuses to a confined process, without the interpreter's hook, as root and as a user."""

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hostile_programs import LIMITS, open_to_all

import llamalab
from llamalab.evaluation.code import sandbox
from llamalab.evaluation.code.launcher.confinement import LAYERS

SCRIPT = """
import sys; sys.path.insert(0, sys.argv[1])
import ctypes, json, os, resource, signal, socket, threading
from llamalab.evaluation.code.launcher import kernel
from llamalab.evaluation.code.launcher.confinement import Confinement
from llamalab.evaluation.code.limits import Limits
scratch, layers, user, port, victim = json.loads(sys.argv[2])
if user is not None:
    os.setgroups([]); os.setresgid(user, user, user); os.setresuid(user, user, user)
limits = Limits(cpu_seconds=5, wall_seconds=10, memory_bytes=2**30, file_bytes=2**20, disk_bytes=2**20, open_files=32,
                threads=16)
confinement = Confinement(limits, scratch, [], layers)
if confinement.alone and (first := os.fork()):
    os._exit(os.waitstatus_to_exitcode(os.waitpid(first, 0)[1]))
folder = confinement.fresh_folder()
receive, report = os.pipe()

def connect():
    socket.socket().connect(("127.0.0.1", port))

def thread():
    started = threading.Thread(target=int)
    started.start(); started.join()

def write(path):
    with open(path, "w") as file: file.write("x")

attempts = {
    "fork": os.fork,
    "connect": connect,
    "kill the parent": lambda: os.kill(os.getppid(), signal.SIGTERM),
    "kill the launcher's parent": lambda: os.kill(launchers_parent, signal.SIGTERM),
    "limit the parent": lambda: resource.prlimit(launchers_parent, resource.RLIMIT_CPU, (1, 1)),
    "become root": lambda: os.setresuid(0, 0, 0) or os.setresuid(1, 1, 1),
    "leave a namespace": lambda: kernel.unshare(kernel.NEW_USER),
    "mount": lambda: kernel.mount("none", folder, "tmpfs", 0),
    "run a shell": lambda: os.execv("/bin/sh", ["sh", "-c", "exit 0"]),
    "write elsewhere": lambda: write(victim),
    "raise a limit": lambda: resource.setrlimit(resource.RLIMIT_AS, (2**40, 2**40)),
    "thread": thread,
    "write": lambda: write(folder + "/x"),
    "signal oneself": lambda: os.kill(os.getpid(), 0),
    "socketpair": lambda: [end.close() for end in socket.socketpair()],
}
launchers_parent = os.getppid() or 1  # 0: in another process namespace
pid = os.fork()
if pid == 0:
    confinement.enter(folder)
    done = {}
    for name, attempt in attempts.items():
        try:
            attempt()
            done[name] = True
        except (OSError, ValueError, RuntimeError):
            done[name] = False
    os.write(report, json.dumps({"done": done, "facts": confinement.facts}).encode())
    os._exit(0)
os.waitpid(pid, 0)
print(os.read(receive, 65536).decode())
"""
ALLOWED = {"thread", "write", "signal oneself", "socketpair"}


@pytest.mark.parametrize("layers", [LAYERS, LAYERS[1:]], ids=["all", "no namespaces"])
@pytest.mark.parametrize("user", [None, 12345], ids=["as we are", "as a user"])
def test_the_kernel_refuses_what_could_do_harm(tmp_path: Path, layers: tuple[str, ...], user: int | None) -> None:
    if user is not None and os.geteuid() != 0:
        pytest.skip("only root can become another user; the tests already run as one")
    scratch, victim = tmp_path / "scratch", tmp_path / "victim"
    scratch.mkdir()
    victim.write_text("untouched")
    for path in (scratch, victim):
        open_to_all(path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        arguments = json.dumps([str(scratch), layers, user, server.getsockname()[1], str(victim)])
        source = str(Path(llamalab.__file__).parents[1])
        python = getattr(sys, "_base_executable", sys.executable)
        run = subprocess.run(
            [python, "-S", "-P", "-c", SCRIPT, source, arguments], capture_output=True, text=True, timeout=60
        )
        server.settimeout(0.05)
        with pytest.raises(TimeoutError):
            server.accept()
    assert run.returncode == 0, run.stderr + run.stdout
    found = json.loads(run.stdout)
    if "limited" in found["facts"]["processes"] or "evaluating user" in found["facts"]["files"]:
        pytest.skip(f"this system cannot confine programs fully: {found['facts']}")
    assert {name for name, succeeded in found["done"].items() if succeeded} == ALLOWED
    assert victim.read_text() == "untouched"


def test_a_python_below_tmp_is_confined_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """The private root has a /tmp of its own, and a virtual environment may lie below the real one."""
    facts, usual = [], sandbox._import_folders()
    with tempfile.TemporaryDirectory(dir="/tmp") as below_tmp:
        for more in ([], [below_tmp]):
            monkeypatch.setattr(sandbox, "_import_folders", lambda more=more: [*usual, *more])
            launcher = sandbox.Launcher(LIMITS, LAYERS)
            facts.append(launcher.facts)
            launcher.close()
    assert facts[0] == facts[1]
