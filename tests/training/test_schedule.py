"""The learning rate against the paper's words: linear warmup, a cosine, a last rate of 10% of the peak."""

import command_line
import numpy as np
import pytest

from llamalab.training.module import LlamaModule
from llamalab.training.schedule import WarmupCosine


def paper_schedule(warmup: int, total: int) -> np.ndarray:
    """The factor of updates 1..total: update `warmup` has the peak, update `total` a tenth of it."""
    update = np.arange(1, total + 1)
    angle = np.pi * np.clip((update - 1 - warmup) / max(1, total - 1 - warmup), 0, 1)
    return np.where(update <= warmup, update / max(1, warmup), 0.55 + 0.45 * np.cos(angle))


@pytest.mark.parametrize(("warmup", "total"), [(2_000, 20_000), (5, 40), (1, 3), (0, 10), (3, 4)])
def test_every_step(warmup, total):
    schedule = WarmupCosine(warmup * 256, 0.1, total * 256, 256)
    factors = np.array([schedule(step) for step in range(total)])
    np.testing.assert_allclose(factors, paper_schedule(warmup, total), atol=1e-12)
    assert factors.max() == 1.0
    assert factors[-1] == pytest.approx(0.1 if total - 1 > warmup else 1.0)
    assert (np.diff(factors[:warmup]) > 0).all()
    assert (np.diff(factors[warmup:]) < 0).all()


def test_the_budgets_of_the_paper_warm_up_for_2000_steps():
    """Section 2.3; conf/scale/7b.yaml counts them in tokens."""
    schedule = WarmupCosine(8_388_608_000, 0.1, 1_006_632_960_000, 4_194_304)
    assert (schedule.warmup_steps, schedule.total_steps) == (2_000, 240_000)


def test_the_optimizer_follows_it_step_by_step(tiny_corpus, tmp_path, monkeypatch):
    """Through Lightning and gradient accumulation; the log shows the rate that the logged step was made with."""
    used = []
    clip = LlamaModule.configure_gradient_clipping

    def recording(self, optimizer, *arguments, **keywords):
        used.append({group["lr"] for group in optimizer.param_groups})
        clip(self, optimizer, *arguments, **keywords)

    monkeypatch.setattr(LlamaModule, "configure_gradient_clipping", recording)
    overrides = tiny_corpus.overrides(
        runs_dir=tmp_path, scale__micro_batch=4, scale__tokens=12 * 256, trainer__log_every_steps=1
    )
    assert command_line.run_here("train", *overrides).code == 0
    expected = 0.003 * paper_schedule(5, 12)
    assert [len(rates) for rates in used] == [1] * 12
    np.testing.assert_allclose([max(rates) for rates in used], expected, rtol=1e-12)
    rows = command_line.rows(tmp_path / "default/tiny/seed=0")
    np.testing.assert_allclose([row["train/lr"] for row in rows if "train/lr" in row], expected, rtol=1e-12)
