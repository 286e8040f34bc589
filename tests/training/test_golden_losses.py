"""50 steps at smoke scale, in fp32 on one device and one thread, against committed losses.

The tokens come from Python's `random.random`, which is the same on every platform, and not from a tokenizer. What the
arithmetic of another processor changes (vector width, order of summation: below 1e-6, measured) is inside the
tolerance; what a change of the computation changes is far outside, which is tested too.

To regenerate after a change that is meant to change the numbers, run from the repository's root

    python tests/training/test_golden_losses.py

and commit golden_losses.json together with the change and its reason.
"""

import dataclasses
import json
import random
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1]))  # when run as a script

import command_line
from corpus_builder import TinyCorpus, train_tokenizer, write_data_config, write_shards

from llamalab.training import run

GOLDEN = Path(__file__).with_name("golden_losses.json")
STEPS, VOCABULARY, TOLERANCE = 50, 4096, 2e-5


def token_document(generator: random.Random, length: int, vocabulary: int) -> list[int]:
    """BOS, ids given by the one before, copied from four places back, or of Zipf-like frequencies, EOS."""
    ids = [1]
    for _ in range(length):
        kind, drawn = generator.random(), int(vocabulary ** generator.random())
        if kind < 0.4:
            ids.append(3 + 5 * ids[-1] % 50)
        elif kind < 0.8:
            ids.append(ids[-min(4, len(ids))])
        else:
            ids.append(3 + drawn % (vocabulary - 3))
    return [*ids, 2]


def golden_corpus(folder: Path) -> TinyCorpus:
    """Two domains of token ids. Validation stays below the vocabulary of the tokenizer that is there for form's sake
    (its pieces count only in bits per byte, which are not compared)."""
    generator = random.Random(0)
    tokenizer = folder / "tokenizer.model"
    tokenizer.write_bytes(
        train_tokenizer(["".join(chr(97 + i % 26) for i in range(j, 9 * j, j)) for j in range(1, 80)])
    )
    for domain in ("even", "odd"):
        for split, count, vocabulary in (("train", 60, VOCABULARY), ("validation", 6, 280)):
            documents = [token_document(generator, 700, vocabulary) for _ in range(count)]
            write_shards(folder / "tokens" / domain / split, documents, tokenizer, [1] * count, VOCABULARY)
    write_data_config(folder, {"even": 60, "odd": 40})
    return TinyCorpus(folder)


def train(corpus: TinyCorpus, runs_dir: Path, *overrides: str) -> dict[str, list[float]]:
    """The losses of `scale=smoke` with a budget of 50 steps; the data's choice is the only other difference."""
    outcome = command_line.run_here(
        "train",
        f"--config-dir={corpus.config_dir}",
        "data=tiny",
        "scale=smoke",
        f"scale.tokens={STEPS * 2048}",
        f"scale.vocab_size={VOCABULARY}",
        "trainer.precision=32-true",
        "trainer.matmul_precision=highest",
        "trainer.threads=1",
        "trainer.accelerator=cpu",
        "trainer.log_every_steps=1",
        "trainer.progress=none",
        "logger=none",
        f"runs_dir={runs_dir}",
        *overrides,
    )
    assert outcome.code == 0, outcome.stderr
    (run_dir,) = runs_dir.glob("default/smoke/seed=*")
    rows = command_line.rows(run_dir)
    return {
        "train": command_line.losses(run_dir),
        "validation": [row["validation/loss"] for row in rows if "validation/loss" in row],
    }


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> TinyCorpus:
    """The golden run's data."""
    return golden_corpus(tmp_path_factory.mktemp("golden"))


@pytest.fixture
def first_steps(monkeypatch):
    """Ends a run after its first steps, on the schedule of the whole run."""
    plan_of = run.make_plan

    def cut_to(steps: int) -> None:
        monkeypatch.setattr(run, "make_plan", lambda *given: dataclasses.replace(plan_of(*given), total=steps))

    return cut_to


def test_golden_losses(corpus, tmp_path):
    golden, losses = json.loads(GOLDEN.read_text()), train(corpus, tmp_path)
    assert len(golden["train"]) == STEPS
    assert golden["train"][-1] < golden["train"][0] - 1  # the model learns: there is something to compare
    assert losses["train"] == pytest.approx(golden["train"], rel=TOLERANCE)
    assert losses["validation"] == pytest.approx(golden["validation"], rel=TOLERANCE)


@pytest.mark.parametrize(
    "change",
    [
        "norm.eps=1e-5",
        "position.theta=500000",
        "scale.warmup_tokens=12288",  # six steps instead of five: the schedule off by one
        "optimizer.weight_decay=0.09",
        "optimizer.eps=1e-6",
    ],
)
def test_a_small_change_of_the_computation_breaks_them(corpus, tmp_path, first_steps, change):
    """Twice the tolerance within 14 steps, on the schedule of the whole run."""
    first_steps(14)
    losses = train(corpus, tmp_path, change)["train"]
    golden = json.loads(GOLDEN.read_text())["train"]
    assert len(losses) == 14
    assert max(abs(a / b - 1) for a, b in zip(losses, golden, strict=False)) > 2 * TOLERANCE


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "corpus").mkdir()
        values = train(golden_corpus(folder / "corpus"), folder / "runs")
        GOLDEN.write_text(json.dumps(values, indent=1) + "\n")
        print(f"wrote {GOLDEN}: {values['train'][0]:.4f} to {values['train'][-1]:.4f}")
