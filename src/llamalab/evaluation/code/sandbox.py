"""Runs programs that nobody has read: in launchers, one per core, which confine each of them."""

import json
import os
import select
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import llamalab
from llamalab.common.errors import UserError
from llamalab.evaluation.code.launcher.confinement import LAYERS
from llamalab.evaluation.code.limits import Limits

_START = "import sys; sys.path.insert(0, sys.argv[2]); from llamalab.evaluation.code.launcher.main import main; main()"
_START_SECONDS = 60.0
# What ending a program and cleaning up after it may take on a busy machine; then the launcher itself is replaced.
_GRACE_SECONDS = 20.0

Program = tuple[str, ...]
"""The parts of a program, executed one after the other in one module: what was generated, then its tests."""


@dataclass(frozen=True)
class Verdict:
    """What became of a program.

    Attributes:
        passed: all its parts ran to their ends.
        reason: why it did not pass, in a few words; "" if it did.
    """

    passed: bool
    reason: str


class Launcher:
    """One process that runs programs, one at a time.

    Args:
        limits: for each program.
        layers: what to confine programs with, of `LAYERS`, as far as the system allows it.

    Attributes:
        facts: what confines programs, by what it protects.

    Raises:
        UserError: programs cannot be run here at all.
    """

    def __init__(self, limits: Limits, layers: Sequence[str]) -> None:
        self._limits = limits
        self._scratch = tempfile.TemporaryDirectory(prefix="llamalab-programs-", ignore_cleanup_errors=True)
        os.chmod(self._scratch.name, 0o711)  # so that another user gets at the folder within that is its own
        settings = {
            "limits": asdict(limits),
            "layers": list(layers),
            "scratch": self._scratch.name,
            "python": _import_folders(),
        }
        package_folder = str(Path(llamalab.__file__).resolve().parent.parent)
        self._process = subprocess.Popen(
            [_interpreter(), "-s", "-S", "-P", "-c", _START, json.dumps(settings), package_folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Nothing of ours; and one thread each, as the programs share the cores.
            env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
            | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            cwd="/",
        )
        try:
            self.facts: dict[str, str] = self._answer(_START_SECONDS)
        except (EOFError, TimeoutError) as error:
            self.close()
            raise UserError(
                f"allow_code_execution: generated programs cannot be run here ({error}); "
                "evaluate on Linux, or leave the code tasks out"
            ) from None

    def run(self, program: Program) -> Verdict:
        """What becomes of a program.

        Raises:
            EOFError: this launcher has ended.
            TimeoutError: it does not answer.
        """
        assert self._process.stdin is not None
        try:
            # JSON escapes: a generated text may hold halves of characters that UTF-8 cannot say
            self._process.stdin.write(json.dumps(program).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise EOFError("the launcher has ended") from None
        return Verdict(**self._answer(self._limits.wall_seconds + _GRACE_SECONDS))

    def close(self) -> None:
        """Ends the launcher and what it runs."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            with suppress(BrokenPipeError):
                stream.close()
        self._scratch.cleanup()

    def _answer(self, seconds: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], seconds)[0]:
            raise TimeoutError(f"no answer in {seconds:.0f} s")
        line = self._process.stdout.readline()
        if not line:
            raise EOFError("the launcher has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer


class Sandbox:
    """Launchers that share the work; a context manager.

    Args:
        limits: for each program.
        workers: how many programs run at a time.
        layers: what to confine programs with, of `LAYERS`, as far as the system allows it.

    Attributes:
        facts: what confines programs here, by what it protects.
    """

    def __init__(self, limits: Limits, workers: int, layers: Sequence[str] = LAYERS) -> None:
        self._limits, self._workers, self._layers = limits, workers, layers
        self._free: SimpleQueue[Launcher] = SimpleQueue()

    def __enter__(self) -> "Sandbox":
        with ExitStack() as started:
            for _ in range(self._workers):
                launcher = Launcher(self._limits, self._layers)
                started.callback(launcher.close)
                self._free.put(launcher)
            started.pop_all()
        self.facts = launcher.facts
        return self

    def __exit__(self, *exception: object) -> None:
        for _ in range(self._workers):
            self._free.get().close()

    def run(self, programs: Sequence[Program], advance: Callable[[int], None]) -> list[Verdict]:
        """The verdicts on `programs`, in order; equal programs are run once.

        Args:
            programs: what to run.
            advance: told how many more are done.
        """
        asked = list(dict.fromkeys(programs))
        verdicts: dict[Program, Verdict] = {}
        times = dict.fromkeys(asked, 0)
        for program in programs:
            times[program] += 1
        with ThreadPoolExecutor(self._workers) as pool:
            try:
                for program, verdict in zip(asked, pool.map(self._run_one, asked), strict=True):
                    verdicts[program] = verdict
                    advance(times[program])
            except BaseException:  # an interruption does not wait for what has not begun
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return [verdicts[program] for program in programs]

    def _run_one(self, program: Program) -> Verdict:
        launcher = self._free.get()
        try:
            return launcher.run(program)
        except (EOFError, TimeoutError) as error:
            # A program must not be able to do this; if one does, it alone fails.
            launcher.close()
            launcher = Launcher(self._limits, self._layers)
            return Verdict(False, f"broke its launcher: {error}")
        finally:
            self._free.put(launcher)


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe(facts: dict[str, str]) -> str:
    """One line for a person."""
    return "; ".join(f"{what}: {how}" for what, how in facts.items())


def _interpreter() -> str:
    """This Python without the virtual environment around it."""
    return getattr(sys, "_base_executable", None) or sys.executable


def _import_folders() -> list[str]:
    """The standard library, and the packages of this environment (some generated programs use numpy)."""
    paths = sysconfig.get_paths()
    library = Path(sysconfig.get_path("stdlib", vars={"base": sys.base_prefix, "installed_base": sys.base_prefix}))
    folders = [library, library / "lib-dynload", Path(paths["purelib"]), Path(paths["platlib"])]
    return list(dict.fromkeys(os.path.realpath(folder) for folder in folders))
