"""What a user sees while a run goes on."""

import re
from pathlib import Path

import command_line
import pytest

from llamalab.training import progress

RUN = Path("default/tiny/seed=0")


def test_lines_tell_step_loss_speed_and_time_left(tiny_corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    arguments = tiny_corpus.overrides(runs_dir=tmp_path, trainer__progress="lines", scale__micro_batch=4)
    outcome = command_line.run_here("train", *arguments)
    lines = outcome.error_lines[:-1]
    pattern = rf"{RUN}  step (\d+)/40  loss (\S+) tok/s [\d,]+( val \d\.\d{{3}})?  (\S+)s left"
    matches = [re.fullmatch(pattern, line) for line in lines]
    assert all(matches), lines
    assert [int(match[1]) for match in matches][-1] == 40
    assert matches[-1][4] == "0"
    rows = command_line.rows(tmp_path / RUN)
    assert matches[-1][2] == f"{rows[-2]['train/loss']:.3f}"
    assert matches[-1][3] == f" val {rows[-1]['validation/loss']:.3f}"


def test_a_line_now_and_then_is_enough(tiny_corpus, tmp_path):
    outcome = command_line.run_here("train", *tiny_corpus.overrides(runs_dir=tmp_path, trainer__progress="auto"))
    assert [" step 40/40 " in line for line in outcome.error_lines] == [True, False]


def test_the_bar_on_a_terminal(tiny_corpus, tmp_path):
    outcome = command_line.run_here("train", *tiny_corpus.overrides(runs_dir=tmp_path, trainer__progress="bar"))
    assert outcome.code == 0
    assert "40/40" in outcome.stderr + outcome.stdout
    assert "tok/s" in outcome.stderr + outcome.stdout
    assert outcome.error_lines[-1].startswith(f"{RUN}: finished, validation loss ")


@pytest.mark.parametrize(("kind", "terminal", "expected"), [("auto", True, "Bar"), ("auto", False, "Lines")])
def test_the_terminal_decides(monkeypatch, kind, terminal, expected):
    monkeypatch.setattr(progress, "progress_console", type("Console", (), {"is_terminal": terminal})())
    (callback,) = progress.progress_callbacks(kind, "run", cadence=None)
    assert type(callback).__name__ == expected
