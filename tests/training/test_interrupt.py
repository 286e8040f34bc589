"""Ctrl-C and SIGTERM: the step is finished and saved, exit code 130, and the same command continues."""

import os
import signal
from pathlib import Path

import command_line
import pytest

from llamalab.training.interrupt import Interrupted, StopRequest

RUN = Path("default/tiny/seed=0")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_signal_saves_and_the_command_continues_bit_identically(tiny_corpus, tmp_path, undisturbed, number):
    run_dir, arguments = tmp_path / RUN, tiny_corpus.overrides(runs_dir=tmp_path)
    command = command_line.Command("train", *arguments)
    command.wait_until(lambda: command_line.last_step(run_dir) >= 4)
    command.signal_group(number)
    outcome = command.finish()
    (checkpoint,) = (run_dir / "checkpoints").iterdir()
    step = int(checkpoint.name.removeprefix("step="))
    assert outcome.code == 130
    assert outcome.error_lines == [
        f"llamalab: interrupted; the state after step {step} is saved; the same command continues from the newest "
        "checkpoint"
    ]
    assert step - 2 <= command_line.last_step(run_dir) <= step
    assert not (run_dir / "result.json").exists()
    outcome = command_line.run_here("train", *arguments)
    assert outcome.error_lines[0] == f"{command_line.shown(run_dir)}: resuming after step {step}"
    assert command_line.weights_hash(run_dir) == command_line.weights_hash(undisturbed())
    assert command_line.timeless(run_dir) == command_line.timeless(undisturbed())


@pytest.mark.parametrize("step", [1, 3, 7, 8, 20, 39])
def test_any_step_can_be_the_last(tiny_corpus, tmp_path, undisturbed, stop_after, step):
    """In a log window (of two steps), at a checkpoint (every seventh), at a validation (every twentieth)."""
    run_dir, arguments = tmp_path / RUN, tiny_corpus.overrides(runs_dir=tmp_path)
    stop_after(step)
    outcome = command_line.run_here("train", *arguments)
    assert outcome.code == 130
    assert f"the state after step {step} is saved" in outcome.stderr
    stop_after(0)
    assert command_line.run_here("train", *arguments).code == 0
    assert command_line.weights_hash(run_dir) == command_line.weights_hash(undisturbed())
    assert command_line.timeless(run_dir) == command_line.timeless(undisturbed())


def test_a_request_in_the_last_step_finishes_the_run(tiny_corpus, tmp_path, undisturbed, stop_after):
    stop_after(40)
    assert command_line.run_here("train", *tiny_corpus.overrides(runs_dir=tmp_path)).code == 0
    assert command_line.weights_hash(tmp_path / RUN) == command_line.weights_hash(undisturbed())


def test_a_second_ctrl_c_does_not_wait_for_the_step():
    before = signal.getsignal(signal.SIGINT)
    stop = StopRequest()
    with stop.listening():
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal_number == signal.SIGTERM
        os.kill(os.getpid(), signal.SIGTERM)  # only Ctrl-C is impatient
        with pytest.raises(Interrupted, match="the same command continues from the newest checkpoint"):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_times_go_on_where_they_were(tiny_corpus, tmp_path, stop_after):
    """Seconds, steps and energy count both parts of an interrupted run."""
    run_dir, arguments = tmp_path / RUN, tiny_corpus.overrides(runs_dir=tmp_path)
    stop_after(30)
    command_line.run_here("train", *arguments)
    first = command_line.rows(run_dir)[-1]["seconds"]
    stop_after(0)
    command_line.run_here("train", *arguments)
    seconds = [row["seconds"] for row in command_line.rows(run_dir)]
    assert seconds == sorted(seconds)
    result = command_line.result(run_dir)
    assert result["seconds"] > first > 0
    assert result["wall_seconds"] >= result["seconds"]
    assert result["tokens_per_second"] == pytest.approx(40 * 256 / result["seconds"])
    energy = result["energy"]
    assert energy["hours"] * 3600 == pytest.approx(result["wall_seconds"])
    assert energy["kwh"] == pytest.approx(energy["hours"] * energy["devices"] * energy["watts"] * energy["pue"] / 1000)
    assert result["mfu"] == pytest.approx(result["tokens_per_second"] * result["flops_per_token"] / 96e9)
