"""Lower precision and compilation change a run only within their precision."""

from pathlib import Path

import command_line
import numpy as np
import pytest
import torch

RUN = Path("default/tiny/seed=0")


def losses_with(tiny_corpus, runs_dir: Path, **changes: object) -> list[float]:
    changes = {"scale__tokens": 20 * 256, "trainer__log_every_steps": 1, **changes}
    outcome = command_line.run_here("train", *tiny_corpus.overrides(runs_dir=runs_dir, **changes))
    assert outcome.code == 0, outcome.stderr
    assert len(outcome.error_lines) == 1, outcome.stderr
    losses = command_line.losses(runs_dir / RUN)
    assert len(losses) == 20
    assert losses[-1] < losses[0] - 0.5
    return losses


@pytest.fixture
def full_precision(tiny_corpus, tmp_path):
    return losses_with(tiny_corpus, tmp_path / "fp32")


@pytest.mark.parametrize(
    ("precision", "dtype"), [("bf16-mixed", torch.float32), ("bf16-true", torch.bfloat16)], ids=["mixed", "true"]
)
def test_bfloat16_stays_near_full_precision(tiny_corpus, tmp_path, full_precision, precision, dtype):
    losses = losses_with(tiny_corpus, tmp_path / "bf16", trainer__precision=precision)
    np.testing.assert_allclose(losses, full_precision, rtol=0.02)
    assert losses != full_precision
    assert {tensor.dtype for tensor in command_line.weights(tmp_path / "bf16" / RUN).values()} == {dtype}


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_bfloat16_resumes_bit_identically(tiny_corpus, tmp_path, stop_after, precision):
    changes = {"scale__tokens": 16 * 256, "trainer__precision": precision}
    arguments = tiny_corpus.overrides(runs_dir=tmp_path / "undisturbed", **changes)
    assert command_line.run_here("train", *arguments).code == 0
    arguments = tiny_corpus.overrides(runs_dir=tmp_path / "interrupted", **changes)
    stop_after(9)
    assert command_line.run_here("train", *arguments).code == 130
    stop_after(0)
    assert command_line.run_here("train", *arguments).code == 0
    one, other = tmp_path / "undisturbed" / RUN, tmp_path / "interrupted" / RUN
    assert command_line.weights_hash(one) == command_line.weights_hash(other)
    assert command_line.timeless(one) == command_line.timeless(other)


@pytest.mark.slow
def test_a_compiled_run_is_the_eager_one(tiny_corpus, tmp_path):
    """One layer: compiling takes most of the time."""
    eager = losses_with(tiny_corpus, tmp_path / "eager", scale__n_layers=1)
    try:
        compiled = losses_with(tiny_corpus, tmp_path / "compiled", scale__n_layers=1, trainer__compile=True)
    finally:
        torch._dynamo.reset()
    np.testing.assert_allclose(compiled, eager, rtol=1e-4)
