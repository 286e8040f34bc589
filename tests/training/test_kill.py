"""kill -9 at a random step: the same command resumes and ends as if nothing had happened.

`pytest tests/training/test_kill.py --kills 10` kills at ten different moments. A moment is a step seen in
metrics.jsonl and a delay after it, which falls into a step, a validation or the writing of a checkpoint.
"""

import os
import random
import shutil
import signal
import time
from pathlib import Path

import command_line
import pytest
import torch

RUN = Path("default/tiny/seed=0")


def assert_same_run(run_dir: Path, reference: Path) -> None:
    """Weights to the bit, rows to the last digit (but for the clock), and the same result."""
    assert command_line.weights_hash(run_dir) == command_line.weights_hash(reference)
    assert command_line.timeless(run_dir) == command_line.timeless(reference)
    result, expected = command_line.result(run_dir), command_line.result(reference)
    for key in ("status", "step", "tokens", "validation", "train_loss", "weights_sha256", "config_hash"):
        assert result[key] == expected[key]
    assert result["weights_sha256"] == command_line.weights_hash(run_dir)


def start_and_wait(arguments: list[str], run_dir: Path, step: int, delay: float) -> command_line.Command:
    """A training process that has logged at least `step`, and then some seconds more."""
    command = command_line.Command("train", *arguments)
    command.wait_until(lambda: command_line.last_step(run_dir) >= step)
    time.sleep(delay)
    return command


@pytest.mark.parametrize("micro_batch", [None, 2], ids=["whole batches", "accumulation"])
def test_a_killed_run_resumes_bit_identically(tiny_corpus, tmp_path, undisturbed, micro_batch, kill):
    changes = {} if micro_batch is None else {"scale__micro_batch": micro_batch}
    generator = random.Random(f"{micro_batch} {kill}")
    run_dir, arguments = tmp_path / RUN, tiny_corpus.overrides(runs_dir=tmp_path, **changes)
    command = start_and_wait(arguments, run_dir, generator.randint(1, 30), generator.uniform(0, 0.03))
    command.signal_group(signal.SIGKILL)
    assert command.finish().code == -signal.SIGKILL
    assert not (run_dir / "result.json").exists()
    outcome = command_line.run_here("train", *arguments)
    assert outcome.code == 0, outcome.stderr
    assert_same_run(run_dir, undisturbed(**changes))
    assert [path.name for path in (run_dir / "checkpoints").iterdir()] == ["step=00000040"]


@pytest.mark.slow
def test_two_ranks_survive_every_kind_of_stop(tiny_corpus, tmp_path, undisturbed, kill):
    """kill -9 for everybody at once, kill -9 for the supervisor alone, Ctrl-C; then the command finishes."""
    generator = random.Random(f"ranks {kill}")
    run_dir, arguments = tmp_path / RUN, tiny_corpus.overrides(runs_dir=tmp_path, trainer__devices=2)

    def kill_everybody(command: command_line.Command) -> None:
        ranks = command_line.processes_that_name(tmp_path)
        assert len(ranks) == 2
        for process in (command.pid, *ranks):
            os.kill(process, signal.SIGKILL)

    stops = [
        (kill_everybody, -signal.SIGKILL),
        (lambda command: command.signal(signal.SIGKILL), -signal.SIGKILL),
        (lambda command: command.signal_group(signal.SIGINT), 130),
    ]
    for number, (stop, code) in enumerate(stops):
        step = generator.randint(1 + 10 * number, 8 + 10 * number)
        command = start_and_wait(arguments, run_dir, step, generator.uniform(0, 0.03))
        stop(command)
        outcome = command.finish()
        assert outcome.code == code, outcome.stderr
        command_line.wait_until(lambda: not command_line.processes_that_name(tmp_path), timeout=10)
    saved = max(int(path.name.removeprefix("step=")) for path in (run_dir / "checkpoints").iterdir())
    assert outcome.error_lines[-1] == (
        f"llamalab: interrupted; the state after step {saved} is saved; the same command continues from the newest "
        "checkpoint"
    )
    assert (
        outcome.error_lines[0]
        == f"{command_line.shown(run_dir)}: resuming after step {outcome.error_lines[0].rpartition(' ')[2]}"
    )
    assert len(outcome.error_lines) == 2
    outcome = command_line.Command("train", *arguments).finish()
    assert outcome.code == 0, outcome.stderr
    assert_same_run(run_dir, undisturbed(trainer__devices=2))


def copy_until(source: Path, target: Path, step: int) -> Path:
    """A run directory as it was right after the checkpoint of `step`, with later rows already in the log."""
    shutil.copytree(source, target / RUN)
    (target / RUN / "result.json").unlink()
    for path in (target / RUN / "checkpoints").iterdir():
        if int(path.name.removeprefix("step=")) > step:
            shutil.rmtree(path)
    return target / RUN


@pytest.mark.parametrize("left", ["hidden folder", "no meta.json", "cut weights", "half a row"])
def test_what_a_kill_leaves_half_written_is_survived(tiny_corpus, tmp_path, undisturbed, left):
    run_dir = copy_until(undisturbed(), tmp_path, 14)
    checkpoints = run_dir / "checkpoints"
    later = checkpoints / "step=00000021"
    if left == "hidden folder":
        (checkpoints / ".step=00000021.x1y2").mkdir()
        (checkpoints / ".step=00000021.x1y2/model.safetensors").write_bytes(b"half")
    elif left == "half a row":
        with (run_dir / "metrics.jsonl").open("a") as file:
            file.write('{"step": 16, "tok')
    else:
        shutil.copytree(checkpoints / "step=00000014", later)
        if left == "no meta.json":
            (later / "meta.json").unlink()
        else:
            (later / "model.safetensors").write_bytes(b"half")
    outcome = command_line.run_here("train", *tiny_corpus.overrides(runs_dir=tmp_path))
    assert outcome.code == 0
    assert f"{command_line.shown(run_dir)}: resuming after step 14" in outcome.error_lines
    warned = [line for line in outcome.error_lines if line.startswith("warning:")]
    if left in ("no meta.json", "cut weights"):
        assert warned == [f"warning: {command_line.shown(later)} is incomplete (an interrupted write?) and is ignored"]
    else:
        assert warned == []
    assert_same_run(run_dir, undisturbed())
    assert not list(checkpoints.glob(".*"))


def test_a_kill_between_the_last_checkpoint_and_the_result(tiny_corpus, tmp_path, undisturbed):
    run_dir = copy_until(undisturbed(), tmp_path, 40)
    assert command_line.run_here("train", *tiny_corpus.overrides(runs_dir=tmp_path)).code == 0
    assert_same_run(run_dir, undisturbed())


def test_a_kill_before_the_first_checkpoint(tiny_corpus, tmp_path, undisturbed):
    run_dir = copy_until(undisturbed(), tmp_path, 0)
    assert command_line.run_here("train", *tiny_corpus.overrides(runs_dir=tmp_path)).code == 0
    assert_same_run(run_dir, undisturbed())


def test_optimizer_moments_come_back_to_the_bit(tiny_corpus, tmp_path, undisturbed, stop_after):
    """Interrupted in the middle of a window and resumed: the last checkpoints agree in everything they hold."""
    stop_after(17)
    arguments = tiny_corpus.overrides(runs_dir=tmp_path)
    assert command_line.run_here("train", *arguments).code == 130
    assert [path.name for path in (tmp_path / RUN / "checkpoints").iterdir()] == ["step=00000017"]
    stop_after(0)
    assert command_line.run_here("train", *arguments).code == 0
    ours, theirs = (
        torch.load(run / "checkpoints/step=00000040/trainer.pt", weights_only=True)
        for run in (tmp_path / RUN, undisturbed())
    )
    moments, expected = ours["optimizer_states"][0]["state"], theirs["optimizer_states"][0]["state"]
    assert moments.keys() == expected.keys()
    assert len(moments) == 21
    for name, state in moments.items():
        for key, value in state.items():
            assert torch.equal(value, expected[name][key]), (name, key)
    assert torch.equal(ours["random"]["cpu"], theirs["random"]["cpu"])
    assert ours["lr_schedulers"] == theirs["lr_schedulers"]
