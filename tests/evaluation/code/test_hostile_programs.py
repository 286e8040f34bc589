"""No program harms the run: each is a failure, and the next one finds all as it was."""

import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hostile_programs import HOSTILE, LIMITS, open_to_all

from llamalab.evaluation.code.sandbox import Launcher, Sandbox

GOOD = ("import fractions, difflib\ndef f(): return 1", "open('here', 'w').write('x')\nassert f() == 1")
FAILING_TEST = "x = 1\nassert x == 2, 'wrong'\nx = 2\nx = 3\n"
# What a container without rights, another machine or an old kernel leaves of the protection.
LESS = {
    "no namespaces": ("system calls", "landlock", "user"),
    "no namespaces, no other user": ("system calls", "landlock"),
    "no filter": ("namespaces", "user"),
    "no filter, no namespaces": ("landlock", "user"),
}


def run(sandbox: Sandbox, *program: str) -> str:
    (verdict,) = sandbox.run([program], lambda _: None)
    return "passed" if verdict.passed else verdict.reason


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(LIMITS, 1) as running:
        yield running


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_program_is_a_plain_failure(sandbox: Sandbox, name: str) -> None:
    reason = run(sandbox, HOSTILE[name], FAILING_TEST)
    assert reason != "passed"
    assert "launcher" not in reason, "it reached what runs it"
    assert len(reason) < 400
    assert run(sandbox, *GOOD) == "passed"


def test_the_reasons_say_what_happened(sandbox: Sandbox) -> None:
    assert run(sandbox, "x = bytearray(100 * 2**30)") == "MemoryError: "
    assert run(sandbox, "import sys\nsys.exit(0)") == "SystemExit: 0"
    assert run(sandbox, "import os\nos._exit(0)") == "ended before its tests did"
    assert run(sandbox, "x = 1", "assert x == 2, 'no'") == "AssertionError: no"
    assert run(sandbox, "import time\ntime.sleep(100)") == "ran out of time"


def test_processor_time_is_limited_besides_real_time() -> None:
    with Sandbox(replace(LIMITS, wall_seconds=60), 1) as patient:
        assert run(patient, "while True: pass") == "ran out of CPU time"


def test_the_folder_is_empty_and_all_files_together_are_limited(sandbox: Sandbox) -> None:
    fill = "i = 0\nwhile True:\n    open(str(i), 'wb').write(bytes(2**20))\n    i += 1"
    if "private root" in sandbox.facts["files"]:
        assert "No space left" in run(sandbox, fill)
    assert run(sandbox, "import os\nassert os.listdir() == os.listdir(os.environ['HOME']) == []") == "passed"


@pytest.mark.parametrize("layers", LESS.values(), ids=LESS)
def test_with_less_protection_the_run_is_still_not_harmed(layers: tuple[str, ...]) -> None:
    with Sandbox(LIMITS, 1, layers) as less:
        assert run(less, "def f(): return 1", "open('here', 'w').write('x')\nassert f() == 1") == "passed"
        for name in ("fork bomb below the os module", "daemon", "kill everything", "100 GB", "quick exit", "threads"):
            reason = run(less, HOSTILE[name], FAILING_TEST)
            assert reason != "passed"
            assert "launcher" not in reason
        assert run(less, "def f(): return 1", "assert f() == 1") == "passed"


@pytest.fixture(params=[None, *LESS], ids=lambda name: name or "all")
def any_sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with Sandbox(LIMITS, 1, *([LESS[request.param]] if request.param else [])) as running:
        yield running


def test_it_neither_writes_outside_nor_reads_the_environment_nor_reaches_the_network(
    any_sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = any_sandbox
    monkeypatch.setenv("LLAMALAB_SECRET", "hunter2")
    everybody = tmp_path / "everybody"
    everybody.mkdir()
    open_to_all(everybody)
    victim = everybody / "victim"
    victim.write_text("untouched")
    open_to_all(victim)
    confined = "private root" in sandbox.facts["files"] or "Landlock" in sandbox.facts["files"]
    if confined:
        for mode in ("w", "a", "r", "r+"):
            assert run(sandbox, f"open({str(victim)!r}, {mode!r})").split(":")[0] in (
                "FileNotFoundError",
                "PermissionError",
            )
        assert run(sandbox, f"open({str(everybody / 'new')!r}, 'w')") != "passed"
        assert run(sandbox, f"import os\nos.remove({str(victim)!r})") != "passed"
    assert run(sandbox, "open('/usr/new', 'w')") != "passed"
    assert victim.read_text() == "untouched"
    assert not (everybody / "new").exists()

    look = (
        "import os\nfound = [dict(os.environ)]\nfor name in ('self', 'thread-self', '1', str(os.getppid())):\n"
        "    try: found.append(open(f'/proc/{name}/environ', 'rb').read())\n    except OSError: pass\n"
        "assert 'hunter2' in str(found)"
    )
    assert run(sandbox, look) == "AssertionError: "

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        port = server.getsockname()[1]
        assert run(sandbox, f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 1)") != "passed"
        with pytest.raises(TimeoutError):
            server.accept()


def test_a_launcher_that_dies_is_replaced() -> None:
    with Sandbox(LIMITS, 1) as sandbox:
        launcher = sandbox._free.get()
        launcher._process.kill()
        launcher._process.wait()
        sandbox._free.put(launcher)
        assert "launcher" in run(sandbox, *GOOD)
        assert run(sandbox, *GOOD) == "passed"


def test_equal_programs_run_once_and_all_are_counted() -> None:
    counted: list[int] = []
    advance: Callable[[int], None] = counted.append
    with Sandbox(LIMITS, 2) as sandbox:
        coin = ("import os", "assert int.from_bytes(os.urandom(1)) < 128")
        verdicts = sandbox.run([coin] * 40 + [GOOD], advance)
    assert len(set(verdicts[:40])) == 1
    assert verdicts[40].passed
    assert sum(counted) == 41


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    launcher = Launcher(LIMITS, LESS["no namespaces"])
    assert launcher.run(("x = 1", "open('here', 'w')")).passed is True
    launcher.close()
    assert list(tmp_path.iterdir()) == []
