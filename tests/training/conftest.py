"""Runs of this room: never in the folder the tests are started in, and references that several tests compare with."""

from collections.abc import Callable
from pathlib import Path

import command_line
import pytest
import torch
from corpus_builder import TinyCorpus
from filelock import FileLock

from llamalab.training.interrupt import StopRequest

RUN = Path("default/tiny/seed=0")
# Every checkpoint is kept, so that tests can go on from any of them.
KEEP_ALL = {"trainer__keep_checkpoints": 9}


@pytest.fixture(autouse=True)
def _one_thread_in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def undisturbed(tiny_corpus: TinyCorpus, shared_folder: Path) -> Callable[..., Path]:
    """The run directory of a run that nobody stopped, trained when it is first asked for."""

    def run_of(**changes: object) -> Path:
        name = ",".join(f"{key}-{value}" for key, value in sorted(changes.items())) or "default"
        runs_dir = shared_folder / "undisturbed" / name
        runs_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(runs_dir / "lock"):
            if not (runs_dir / RUN / "result.json").exists():
                arguments = tiny_corpus.overrides(runs_dir=runs_dir, **KEEP_ALL, **changes)
                outcome = command_line.Command("train", *arguments).finish()
                assert outcome.code == 0, outcome.stderr
                assert len(outcome.error_lines) == 1, outcome.stderr
        return runs_dir / RUN

    return run_of


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes runs in this process behave as if Ctrl-C had been pressed in their n-th optimizer step; 0: no more."""

    def arrange(step: int) -> None:
        seen = iter(range(1, 1_000_000))
        monkeypatch.setattr(StopRequest, "agreed", lambda self, strategy: next(seen) == step)

    return arrange
