"""Two ranks on CPU compute what one does, and any number of ranks resumes what any other saved."""

import shutil
from pathlib import Path

import command_line
import numpy as np
import pytest
import torch

from llamalab.training import launch

RUN = Path("default/tiny/seed=0")
pytestmark = pytest.mark.slow


def resume_from(source: Path, target: Path, step: int) -> Path:
    """A copy of a finished run as it was after `step`."""
    shutil.copytree(source, target / RUN)
    (target / RUN / "result.json").unlink()
    for path in (target / RUN / "checkpoints").iterdir():
        if int(path.name.removeprefix("step=")) > step:
            shutil.rmtree(path)
    return target / RUN


def assert_equal_within(run_dir: Path, reference: Path, tolerance: float) -> None:
    """Training and validation figures of every row, tokens seen, and the weights."""
    ours, theirs = command_line.timeless(run_dir), command_line.timeless(reference)
    assert [(row["step"], row["tokens"]) for row in ours] == [(row["step"], row["tokens"]) for row in theirs]
    for a, b in zip(ours, theirs, strict=True):
        assert a == pytest.approx(b, rel=tolerance)
    expected = command_line.weights(reference)
    weights = command_line.weights(run_dir)
    assert weights.keys() == expected.keys()
    for name, tensor in weights.items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=50 * tolerance)


def test_fsdp2_on_two_ranks_is_one_rank(undisturbed):
    one, two = undisturbed(), undisturbed(trainer__devices=2)
    np.testing.assert_allclose(command_line.losses(two)[:10], command_line.losses(one)[:10], rtol=1e-5)  # 20 steps
    assert_equal_within(two, one, 1e-4)
    assert command_line.result(two)["hardware"]["devices"] == 2
    assert command_line.result(two)["energy"]["devices"] == 2
    assert command_line.result(two)["tokens"] == command_line.result(one)["tokens"]


def test_one_device_goes_on_where_two_ranks_stopped(tiny_corpus, tmp_path, undisturbed):
    run_dir = resume_from(undisturbed(trainer__devices=2), tmp_path, 14)
    outcome = command_line.run_here("train", *tiny_corpus.overrides(runs_dir=tmp_path))
    assert outcome.error_lines[0] == f"{command_line.shown(run_dir)}: resuming after step 14"
    assert_equal_within(run_dir, undisturbed(trainer__devices=2), 1e-4)


def test_two_ranks_go_on_where_one_device_stopped_and_back(tiny_corpus, tmp_path, undisturbed):
    """With ddp, so that this is also: one device goes on where ddp stopped, and ddp computes the same."""
    there = tmp_path / "there"
    run_dir = resume_from(undisturbed(), there, 14)
    changes = {"trainer__devices": 2, "strategy": "ddp", "trainer__keep_checkpoints": 9}
    outcome = command_line.Command("train", *tiny_corpus.overrides(runs_dir=there, **changes)).finish()
    assert outcome.error_lines[0] == f"{command_line.shown(run_dir)}: resuming after step 14"
    assert_equal_within(run_dir, undisturbed(), 1e-4)
    np.testing.assert_allclose(
        command_line.losses(run_dir)[7:17], command_line.losses(undisturbed())[7:17], rtol=1e-5
    )  # 20 steps
    back = resume_from(run_dir, tmp_path / "back", 28)
    outcome = command_line.run_here("train", *tiny_corpus.overrides(runs_dir=tmp_path / "back"))
    assert outcome.error_lines[0] == f"{command_line.shown(back)}: resuming after step 28"
    assert_equal_within(back, undisturbed(), 1e-4)


def test_fsdp2_goes_on_where_one_device_stopped(tiny_corpus, tmp_path, undisturbed):
    """And accumulates: two micro-batches of two sequences on each rank."""
    run_dir = resume_from(undisturbed(), tmp_path, 21)
    changes = {"trainer__devices": 2, "scale__micro_batch": 2}
    outcome = command_line.Command("train", *tiny_corpus.overrides(runs_dir=tmp_path, **changes)).finish()
    assert outcome.error_lines == [
        f"{command_line.shown(run_dir)}: resuming after step 21",
        outcome.error_lines[-1],
    ]
    assert_equal_within(run_dir, undisturbed(), 1e-4)


def test_weights_that_are_drawn_shard_by_shard_train_too(tiny_corpus, tmp_path, undisturbed):
    """On the meta device nothing is drawn from the seed, but the same distribution is; here as a job of a sweep."""
    changes = {"trainer__devices": 2, "trainer__initialisation": "meta", "scale__tokens": 20 * 256}
    arguments = ["-m", "hydra.sweep.subdir=job", *tiny_corpus.overrides(runs_dir=tmp_path, **changes)]
    outcome = command_line.Command("train", *arguments).finish()
    assert outcome.code == 0, outcome.stderr
    assert (tmp_path / "default/tiny/job/result.json").exists()
    losses, usual = command_line.losses(tmp_path / "default/tiny/job"), command_line.losses(undisturbed())[:10]
    np.testing.assert_allclose(losses, usual, rtol=0.1)
    assert losses != usual


def test_an_error_in_a_rank_is_said_once(tiny_corpus, tmp_path, undisturbed):
    run_dir = resume_from(undisturbed(trainer__devices=2), tmp_path, 14)
    (run_dir / "checkpoints/step=00000014/trainer.pt").write_bytes(
        bytes((run_dir / "checkpoints/step=00000014/trainer.pt").stat().st_size)
    )
    outcome = command_line.Command("train", *tiny_corpus.overrides(runs_dir=tmp_path, trainer__devices=2)).finish()
    assert outcome.code == 2
    assert len(outcome.error_lines) == 2, outcome.stderr
    assert outcome.error_lines[0] == f"{command_line.shown(run_dir)}: resuming after step 14"
    assert "step=00000014/trainer.pt: cannot be read" in outcome.error_lines[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strategy": "single"}, "trainer.devices: 2 devices need strategy=fsdp2 or strategy=ddp, not single"),
        ({"scale__dim": 33}, "scale.dim: 33 is not divisible by n_heads 2"),
        ({"scale__batch_tokens": 224, "scale__tokens": 2240}, "7 sequences do not divide over 2 ranks"),
        ({"trainer__num_nodes": 2, "scale__seq_len": 16}, "must be started by Slurm, MPI or torchrun"),
        ({"data__module__tokens_folder": "/nowhere"}, "/nowhere/code/train: no such token folder"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_mistakes_show_before_any_rank_starts(tiny_corpus, tmp_path, monkeypatch, changes, message):
    def started(*_: object) -> None:
        raise AssertionError("ranks were started")

    monkeypatch.setattr(launch, "elastic_launch", started)
    overrides = tiny_corpus.overrides(runs_dir=tmp_path, trainer__devices=2, **changes)
    outcome = command_line.run_here("train", *overrides)
    assert outcome.code == 2
    assert len(outcome.error_lines) == 1
    assert message in outcome.stderr


def test_a_finished_run_starts_no_ranks(tiny_corpus, tmp_path, monkeypatch, undisturbed):
    shutil.copytree(undisturbed(trainer__devices=2), tmp_path / RUN)
    monkeypatch.setattr(launch, "elastic_launch", None)
    outcome = command_line.run_here("train", *tiny_corpus.overrides(runs_dir=tmp_path, trainer__devices=2))
    assert outcome == command_line.Outcome(
        0, "", f"{command_line.shown(tmp_path / RUN)}: already finished, nothing to do\n"
    )
