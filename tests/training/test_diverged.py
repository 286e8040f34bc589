"""Divergence is an outcome: recorded with its step and reason, never an error, and not run again."""

from pathlib import Path

import command_line
import pytest
import torch

from llamalab.training.module import LlamaModule

RUN = Path("default/tiny/seed=0")


def test_a_rate_that_is_too_high(tiny_corpus, tmp_path):
    arguments = tiny_corpus.overrides(runs_dir=tmp_path, scale__lr=1e4)
    outcome = command_line.run_here("train", *arguments)
    assert outcome.code == 0
    assert len(outcome.error_lines) == 1
    assert f"{command_line.shown(tmp_path / RUN)}: diverged at step " in outcome.stderr
    result = command_line.result(tmp_path / RUN)
    assert result["status"] == "diverged"
    assert 1 <= result["diverged_at_step"] == result["step"] < 40
    assert result["tokens"] == result["step"] * 256
    assert result["diverged_because"]
    assert result["validation"] is None
    assert result["weights_sha256"] is None
    again = command_line.run_here("train", *arguments)
    assert again == command_line.Outcome(
        0, "", f"{command_line.shown(tmp_path / RUN)}: already diverged, nothing to do\n"
    )


@pytest.mark.parametrize("step", [1, 2, 5, 12])
def test_a_loss_that_is_not_finite_is_found_at_its_step(tiny_corpus, tmp_path, monkeypatch, step):
    """Also inside a log window, and before the first row."""
    calls = []
    training_step = LlamaModule.training_step

    def poisoned(self, batch, batch_idx):
        calls.append(batch_idx)
        return training_step(self, batch, batch_idx) * (float("nan") if len(calls) == step else 1.0)

    def remember(self, batch, batch_idx):
        loss = poisoned(self, batch, batch_idx)
        self.window_losses[-1] = loss.detach()
        return loss

    monkeypatch.setattr(LlamaModule, "training_step", remember)
    assert command_line.run_here("train", *tiny_corpus.overrides(runs_dir=tmp_path)).code == 0
    result = command_line.result(tmp_path / RUN)
    assert (result["status"], result["diverged_at_step"]) == ("diverged", step)
    assert result["diverged_because"] == "the loss or its gradient is not finite"
    assert (result["train_loss"] is None) == (step <= 2)
    assert [row["step"] for row in command_line.rows(tmp_path / RUN)] == list(range(2, step - (step % 2 == 0), 2))


def test_above_the_uniform_distribution_after_warmup(tiny_corpus, tmp_path, monkeypatch):
    """ln(512) + 1 = 7.24: a window above it is forgiven during warmup (5 steps), not after it."""
    training_step = LlamaModule.training_step
    calls = []

    def lifted(self, batch, batch_idx):
        calls.append(batch_idx)
        loss = training_step(self, batch, batch_idx)
        if len(calls) in (3, 4, 23, 24):
            self.window_losses[-1] = torch.full_like(loss, 7.3)
        return loss

    monkeypatch.setattr(LlamaModule, "training_step", lifted)
    assert command_line.run_here("train", *tiny_corpus.overrides(runs_dir=tmp_path)).code == 0
    result = command_line.result(tmp_path / RUN)
    assert result["diverged_at_step"] == 24
    assert result["diverged_because"] == "training loss 7.300 is above 7.238 after warmup"


def test_divergence_found_after_a_resume(tiny_corpus, tmp_path, stop_after):
    arguments = tiny_corpus.overrides(runs_dir=tmp_path, scale__lr=1e4, trainer__log_every_steps=40)
    undisturbed = tiny_corpus.overrides(runs_dir=tmp_path / "undisturbed", scale__lr=1e4, trainer__log_every_steps=40)
    assert command_line.run_here("train", *undisturbed).code == 0
    stop_after(1)
    assert command_line.run_here("train", *arguments).code == 130
    stop_after(0)
    assert command_line.run_here("train", *arguments).code == 0
    ours, theirs = command_line.result(tmp_path / RUN), command_line.result(tmp_path / "undisturbed" / RUN)
    assert ours["diverged_at_step"] == theirs["diverged_at_step"]
    assert ours["diverged_because"] == theirs["diverged_because"]
