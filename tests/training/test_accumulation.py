"""Micro-batches change memory, not the computation: the same tokens in the same steps."""

import shutil
from pathlib import Path

import command_line
import numpy as np
import pytest

RUN = Path("default/tiny/seed=0")


def test_the_same_losses_whatever_the_micro_batch(undisturbed):
    whole, parts = undisturbed(), undisturbed(scale__micro_batch=2)
    ours, theirs = command_line.timeless(parts), command_line.timeless(whole)
    assert [(row["step"], row["tokens"]) for row in ours] == [(row["step"], row["tokens"]) for row in theirs]
    for a, b in zip(ours, theirs, strict=True):
        assert a == pytest.approx(b, rel=1e-4)
    np.testing.assert_allclose(command_line.losses(parts)[:10], command_line.losses(whole)[:10], rtol=1e-5)


@pytest.mark.parametrize(("before", "after"), [(2, None), (None, 4)])
def test_resuming_with_another_micro_batch(tiny_corpus, tmp_path, undisturbed, stop_after, monkeypatch, before, after):
    """The tokens of every step are those of an undisturbed run: none twice, none left out."""
    from llamalab.data.datamodule import TrainingBatches

    seen = []
    at = TrainingBatches.at

    def recording(self, position):
        batch = at(self, position)
        seen.append((position // self.accumulation, {tuple(row.tolist()) for row in batch["tokens"]}))
        return batch

    monkeypatch.setattr(TrainingBatches, "at", recording)
    run_dir = tmp_path / RUN

    def train(micro_batch):
        return command_line.run_here(
            "train", *tiny_corpus.overrides(runs_dir=tmp_path, scale__micro_batch=micro_batch or "null")
        )

    stop_after(17)
    assert train(before).code == 130
    stop_after(0)
    outcome = train(after)
    assert outcome.code == 0, outcome.stderr
    interrupted = seen.copy()
    seen.clear()
    shutil.rmtree(run_dir)
    assert train(None).code == 0

    def by_step(batches):
        steps = {}
        for step, rows in batches:
            steps[step] = steps.get(step, set()) | rows
        return steps

    assert by_step(interrupted) == by_step(seen)
    assert len(by_step(seen)) == 40
    assert sum(len(rows) for _, rows in interrupted) == sum(len(rows) for _, rows in seen) == 40 * 8
