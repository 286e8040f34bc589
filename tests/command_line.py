"""Running `llamalab` from a test: in this process (fast) or as the process a user starts (for signals and kills)."""

import contextlib
import io
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from llamalab import cli
from llamalab.common.files import sha256_file

# Keys of a row that differ from one run of the same computation to the next.
TIMES = ("seconds", "train/tokens_per_second", "train/mfu")


@dataclass(frozen=True)
class Outcome:
    """What a command came to."""

    code: int
    stdout: str
    stderr: str

    @property
    def error_lines(self) -> list[str]:
        """The lines on stderr."""
        return self.stderr.splitlines()


@contextlib.contextmanager
def untouched_process() -> Iterator[None]:
    """Undoes what a command sets for its whole process."""
    environment, arguments, show = dict(os.environ), sys.argv, warnings.showwarning
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with warnings.catch_warnings():
            yield
    finally:
        os.environ.clear()
        os.environ.update(environment)
        sys.argv, warnings.showwarning = arguments, show
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def run_here(verb: str, *arguments: str) -> Outcome:
    """Runs a command in this process; an exception that a user would see as a traceback comes through."""
    out, err = io.StringIO(), io.StringIO()
    with untouched_process(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main([verb, *arguments])
            code: Any = 0
        except SystemExit as stop:
            code = stop.code
    return Outcome(code or 0, out.getvalue(), err.getvalue())


def run_process(verb: str, *arguments: str, environment: dict[str, str] | None = None) -> Outcome:
    """Runs a command as its users do, with a new interpreter (five seconds of imports)."""
    done = subprocess.run(
        [sys.executable, "-m", "llamalab.cli", verb, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "80", **(environment or {})},
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


class Command:
    """A command that runs in a process of its own, as the leader of a process group, as a shell starts it.

    The process is forked from a server that has the imports done and nothing else, so it starts at once.
    """

    def __init__(self, verb: str, *arguments: str, environment: dict[str, str] | None = None) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["llamalab.training.run", "llamalab.cli"])
        self.folder = Path(tempfile.mkdtemp(prefix="llamalab_command_"))
        variables = {**os.environ, "COLUMNS": "80", **(environment or {})}
        self.process = context.Process(
            target=_as_command, args=([verb, *arguments], variables, os.getcwd(), self.folder), daemon=False
        )
        self.process.start()

    @property
    def pid(self) -> int:
        """The process id, which is that of its group too."""
        assert self.process.pid is not None
        return self.process.pid

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self.process.exitcode is not None

    def signal(self, number: int) -> None:
        """Sends a signal to the process alone."""
        os.kill(self.pid, number)

    def signal_group(self, number: int) -> None:
        """Sends a signal to the process group, as a terminal does."""
        os.killpg(self.pid, number)

    def finish(self, timeout: float = 120) -> Outcome:
        """Waits for the end; kills what does not come to it."""
        self.process.join(timeout)
        if not self.ended:
            self.signal_group(signal.SIGKILL)
            self.process.join()
            raise AssertionError(f"did not end in {timeout} s: {self._output()}")
        out, err = self._output()
        shutil.rmtree(self.folder)
        return Outcome(self.process.exitcode or 0, out, err)

    def _output(self) -> tuple[str, str]:
        return (self.folder / "out").read_text(), (self.folder / "err").read_text()

    def wait_until(self, condition: Callable[[], bool], timeout: float = 90) -> None:
        """Polls a condition; fails if the command ends before it holds."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert not self.ended, f"ended ({self.process.exitcode}) before it got there: {self._output()}"
            assert time.monotonic() < deadline, f"timed out: {self._output()}"
            time.sleep(0.001)


def _as_command(arguments: list[str], environment: dict[str, str], directory: str, folder: Path) -> None:
    """What the forked process does: become what a shell would have started, and run the command."""
    os.setsid()
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT), number)
    cli.main(arguments)


def shown(path: Path) -> str:
    """A path as messages show it: relative to where the command was typed."""
    return os.path.relpath(path)


def rows(run_dir: Path) -> list[dict[str, Any]]:
    """metrics.jsonl, whole lines only."""
    path = run_dir / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def timeless(run_dir: Path) -> list[dict[str, Any]]:
    """The rows without what depends on the clock."""
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows(run_dir)]


def last_step(run_dir: Path) -> int:
    """The last step that metrics.jsonl shows, 0 before the first row."""
    return max((row["step"] for row in rows(run_dir)), default=0)


def results_below(folder: Path) -> int:
    """How many runs have ended, while others run: unlike rglob, walk takes folders that vanish meanwhile."""
    return sum("result.json" in files for _, _, files in os.walk(folder))


def losses(run_dir: Path) -> list[float]:
    """Training losses by row."""
    return [row["train/loss"] for row in rows(run_dir) if "train/loss" in row]


def result(run_dir: Path) -> dict[str, Any]:
    """result.json, which must be strict JSON."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    found: dict[str, Any] = json.loads((run_dir / "result.json").read_text(), parse_constant=refuse)
    return found


def final_weights(run_dir: Path) -> Path:
    """model.safetensors of the last checkpoint."""
    return sorted((run_dir / "checkpoints").glob("step=*"))[-1] / "model.safetensors"


def weights_hash(run_dir: Path) -> str:
    """sha256 of the final weights' file."""
    return sha256_file(final_weights(run_dir))


def weights(run_dir: Path) -> dict[str, torch.Tensor]:
    """The final weights."""
    return load_file(final_weights(run_dir))


def processes_that_name(folder: Path) -> list[int]:
    """The living processes that have this folder on their command line: the ranks of a run in it."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                alive = (entry / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
                if alive and str(folder) in (entry / "cmdline").read_text():
                    found.append(int(entry.name))
    return found


def wait_until(condition: Callable[[], bool], timeout: float) -> None:
    """Polls a condition."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.01)
