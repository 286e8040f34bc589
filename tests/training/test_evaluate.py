"""callbacks.evaluate: scores on the way, and training none the wiser."""

import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import command_line
import lightning as L
import numpy as np
import pytest
import torch
import zstandard
from corpus_builder import SAMPLING, TinyCorpus, words

from llamalab.evaluation.during_training import Evaluate
from llamalab.training.evaluate import Evaluation

RUN = Path("default/tiny/seed=0")
EVERY = 26  # steps; beside log windows of 2, validations every 20 and checkpoints every 7
STEPS = [26, 40]
TASKS = ["heldout_bits_per_byte/bits_per_byte", "heldout_continuation/acc_neutral", "heldout_continuation/acc_norm"]


@pytest.fixture(scope="session")
def artifacts(shared_folder: Path) -> Path:
    """Held-out documents of the tiny corpus, as `llamalab data` leaves them."""
    folder = shared_folder / "evaluate_artifacts"
    generator = random.Random(1)
    common = words(generator, 60)

    def text() -> str:
        own = common + 4 * words(generator, 10)
        return " ".join(" ".join(generator.choices(own, k=9)).capitalize() + "." for _ in range(40))

    for domain in SAMPLING:
        rows = [{"text": text(), "id": f"{domain}{i}"} for i in range(6)]
        path = folder / f"tiny/split/validation/{domain}.jsonl.zst"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(zstandard.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    return folder


@pytest.fixture
def arguments(tiny_corpus: TinyCorpus, artifacts: Path, tmp_path: Path) -> list[str]:
    """A training that is scored now and then."""
    return [
        *tiny_corpus.overrides(runs_dir=tmp_path),
        "callbacks=evaluate",
        "callbacks.evaluate.suite=embedded",
        f"callbacks.evaluate.every_tokens={EVERY * 256}",
        "callbacks.evaluate.limit=4",
        f"artifacts_dir={artifacts}",
    ]


def split_rows(run_dir: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of the evaluation and the others, without what depends on the clock."""
    rows = command_line.timeless(run_dir)
    scored = [row for row in rows if any(key.startswith("eval/") for key in row)]
    return scored, [row for row in rows if row not in scored]


def assert_undisturbed(run_dir: Path, reference: Path) -> None:
    assert command_line.weights_hash(run_dir) == command_line.weights_hash(reference)
    assert split_rows(run_dir)[1] == command_line.timeless(reference)
    ours, theirs = command_line.result(run_dir), command_line.result(reference)
    for key in ("config_hash", "validation", "train_loss", "weights_sha256"):
        assert ours[key] == theirs[key]
    states = [torch.load(command_line.final_weights(run).with_name("trainer.pt")) for run in (run_dir, reference)]
    assert torch.equal(states[0]["random"]["cpu"], states[1]["random"]["cpu"])


def test_a_scored_run_is_the_same_run_even_if_it_is_killed(arguments, tmp_path, undisturbed, artifacts):
    """The second half is what a kill leaves after step 26: the checkpoint of step 21, and later rows in the log."""
    run_dir = tmp_path / RUN
    outcome = command_line.run_here("train", *arguments, "trainer.keep_checkpoints=9")
    assert outcome.code == 0, outcome.stderr
    assert len(outcome.error_lines) == 1, outcome.stderr  # finished: no bars and no chatter
    assert_undisturbed(run_dir, undisturbed())
    unbroken, _ = split_rows(run_dir)

    (run_dir / "result.json").unlink()
    for path in (run_dir / "checkpoints").iterdir():
        if path.name > "step=00000021":
            shutil.rmtree(path)
    outcome = command_line.run_here("train", *arguments)
    assert outcome.error_lines[0] == f"{command_line.shown(run_dir)}: resuming after step 21"
    assert_undisturbed(run_dir, undisturbed())
    assert split_rows(run_dir)[0] == unbroken

    scored, _ = split_rows(run_dir)
    assert [row["step"] for row in scored] == STEPS
    assert [row["tokens"] for row in scored] == [step * 256 for step in STEPS]
    figures = [key for key in scored[0] if key.startswith("eval/") and not key.endswith("_stderr")]
    assert figures == [f"eval/{name}" for name in TASKS]
    bits = [row["eval/heldout_bits_per_byte/bits_per_byte"] for row in scored]
    assert bits == sorted(bits, reverse=True)  # it learns
    assert len(set(bits)) == len(STEPS)

    # what `llamalab eval` says of the last checkpoint, in the precision it was trained in
    asked = ["suite=embedded", "limit=4", f"checkpoint='{run_dir}'", f"artifacts_dir={artifacts}", "accelerator=cpu"]
    assert command_line.run_here("eval", *asked).code == 0
    summary = json.loads((run_dir / "scores/embedded/summary.json").read_text())
    whole = {f"{row['task']}/{row['metric']}": row for row in summary["rows"] if row["domain"] is None}
    for name, row in whole.items():
        assert scored[-1][f"eval/{name}"] == pytest.approx(row["value"], abs=1e-6)
        assert scored[-1][f"eval/{name}_stderr"] == pytest.approx(row["stderr"], abs=1e-6)


def test_an_evaluation_that_fails_is_one_warning(arguments, tmp_path, undisturbed, monkeypatch):
    def fail(*_: Any) -> None:
        raise OSError("the hub cannot be reached")

    monkeypatch.setattr(Evaluate, "__call__", fail)
    outcome = command_line.run_here("train", *arguments)
    assert outcome.code == 0
    warned = [line for line in outcome.error_lines if line.startswith("warning:")]
    assert warned == ["warning: callbacks.evaluate: failed (the hub cannot be reached); training goes on"]
    assert_undisturbed(tmp_path / RUN, undisturbed())
    assert split_rows(tmp_path / RUN)[0] == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["callbacks.evaluate.suite=embeded"], "callbacks.evaluate.suite: no suite 'embeded' in .*did you mean 'embed"),
        (["callbacks.evaluate.every_tokens=0"], "callbacks.evaluate.every_tokens: 0 must be at least 1"),
        (["callbacks.evaluate.limit=none"], "callbacks.evaluate.limit: 'none' is not"),
        (["callbacks.evaluate.sweet=x"], "callbacks.evaluate.sweet: unknown key|Key 'sweet' is not in struct"),
        (["artifacts_dir=/nowhere"], "/nowhere/tiny/split/validation: no held-out documents"),
        (
            ["trainer.devices=2", "strategy=fsdp2"],
            r"callbacks.evaluate: no rank of a sharded run \(strategy=fsdp2\) holds all weights; use strategy=ddp",
        ),
    ],
)
def test_bad_input_is_refused_before_training(arguments, tmp_path, changes, message):
    outcome = command_line.run_here("train", *arguments, *changes)
    assert outcome.code == 2
    assert len(outcome.error_lines) == 1
    assert re.search(message, outcome.stderr), outcome.stderr
    assert not (tmp_path / RUN / "metrics.jsonl").exists()


class Draws:
    """An evaluator that uses up random numbers of every kind, and looks at the state it is called in."""

    every_tokens = 1

    def __init__(self) -> None:
        self.seen: dict[str, Any] = {}

    def prepare(self, config: dict[str, Any], tokenizer: Path) -> None:
        """Nothing."""

    def __call__(self, model: torch.nn.Module) -> tuple[dict[str, float], list[str]]:
        torch.manual_seed(5)
        np.random.seed(5)
        random.seed(5)
        self.seen = {
            "training": model.training,
            "grad": torch.is_grad_enabled(),
            "autocast": torch.is_autocast_enabled("cpu"),
        }
        return {"task/acc": 0.5, "task/perplexity": float("nan")}, ["one set is missing"]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_random_states_and_the_mode_are_put_back(precision: str, recwarn: pytest.WarningsRecorder) -> None:
    evaluator, model = Draws(), torch.nn.Linear(2, 2)
    trainer = L.Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False)
    draws: list[Callable[[], float]] = [lambda: torch.rand(1).item(), lambda: np.random.rand(), random.random]
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    expected = [draw() for draw in draws]
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    evaluation = Evaluation(evaluator, 3, precision)
    recwarn.clear()
    for _ in range(2):
        assert evaluation.row(trainer, model) == {"eval/task/acc": 0.5}  # what is not finite is no score
    assert [str(warning.message) for warning in recwarn] == ["callbacks.evaluate: one set is missing; training goes on"]
    assert [draw() for draw in draws] == expected
    assert model.training
    assert evaluator.seen == {"training": False, "grad": False, "autocast": precision == "bf16-mixed"}
    assert [evaluation.due(step) for step in range(1, 7)] == [False, False, True, False, False, True]
