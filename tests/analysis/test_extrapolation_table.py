"""The study of lengths on the page: from extrapolation.json to table and figure."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report_builders import write_study
from scipy import stats

from llamalab.analysis.archive import read_archive, write_archive
from llamalab.analysis.extra import extras
from llamalab.analysis.extrapolation import (
    changes,
    extrapolation_figure,
    extrapolation_table,
    least_change,
    read_extrapolation,
)
from llamalab.analysis.figure_style import arm_colours, write_figure
from llamalab.analysis.records import Study, read_study
from llamalab.common.errors import UserError

LENGTHS = {1: 256, 2: 512, 16: 4096}
GROWTH = {("rope", "own"): 0.3, ("rope", "rope_yarn"): 0.1, ("none", "own"): 0.2, ("learned", "own"): math.nan}
REASON = "seq_len: learned positions know 256 places, but the sequence has 512"


def loss_of(arm: str, position: str, seed: int, multiple: int) -> float | None:
    """Grows with the octaves, by a little more or less in each seed; learned positions end at their table."""
    if arm == "learned" and multiple > 1:
        return None
    octaves = math.log2(multiple)
    growth = 0.0 if multiple == 1 else GROWTH[arm, position] * octaves
    return 4.0 + 0.1 * seed + growth + 0.01 * seed * octaves


@pytest.fixture
def study(tmp_path: Path) -> Study:
    folder = write_study(tmp_path / "runs", "extrapolation")
    for arm, position in GROWTH:
        for seed in (0, 1, 2):
            path = folder / arm / f"seed={seed}" / "extrapolation.json"
            rows = json.loads(path.read_text())["rows"] if path.exists() else []
            for multiple, length in LENGTHS.items():
                loss = loss_of(arm, position, seed, multiple)
                row = {"position": position, "multiple": multiple, "length": length, "loss": loss}
                row |= {"last_loss": None if loss is None else 2 * loss, "reason": REASON if loss is None else None}
                rows.append(row)
            path.write_text(json.dumps({"length": 256, "rows": rows}))
    return read_study(folder / "study.json")


def test_reads_every_row_of_every_run(study):
    frame = read_extrapolation(study.runs)
    assert len(frame) == len(GROWTH) * len(LENGTHS) * 3
    row = frame.query("arm == 'rope' and position == 'rope_yarn' and seed == 2 and length == 4096").iloc[0]
    assert row["loss"] == loss_of("rope", "rope_yarn", 2, 16)
    assert row["last_loss"] == 2 * row["loss"]
    assert set(frame.loc[frame["loss"].isna(), "arm"]) == {"learned"}
    assert set(frame.loc[frame["loss"].isna(), "reason"]) == {REASON}


def test_runs_that_were_not_measured_are_left_out(study):
    (study.runs[0].path / "extrapolation.json").unlink()
    frame = read_extrapolation(study.runs)
    assert (study.runs[0].arm, study.runs[0].seed) not in set(zip(frame["arm"], frame["seed"], strict=True))
    assert read_extrapolation([]).empty


def test_a_file_without_rows_is_named(study):
    path = study.runs[0].path / "extrapolation.json"
    path.write_text("{}")
    with pytest.raises(UserError, match="has no 'rows'"):
        read_extrapolation(study.runs)


@pytest.mark.parametrize(("metric", "factor"), [("loss", 1), ("last_loss", 2)])
def test_changes_are_those_within_each_run_with_scipys_interval(study, metric, factor):
    found = changes(read_extrapolation(study.runs), metric, 0.9)
    own = np.array([factor * (loss_of("rope", "own", s, 16) - loss_of("rope", "own", s, 1)) for s in (0, 1, 2)])
    interval = stats.ttest_1samp(own, 0).confidence_interval(0.9)
    change = found["rope", "own", 4096]
    assert (change.estimate, change.low, change.high) == pytest.approx((own.mean(), interval.low, interval.high))
    assert found["none", "own", 512].estimate == pytest.approx(factor * 0.21)
    assert ("learned", "own", 4096) not in found
    assert not found["rope", "own", 256].has_interval


def test_the_table_says_what_each_encoding_does_at_each_length(study):
    table = extrapolation_table(study, read_extrapolation(study.runs), 0.95)
    assert table.name == "extrapolation_nano_extrapolation"
    rows = {(row["arm"], row["position"], row["length"]): row for row in table.rows}
    assert len(rows) == len(table.rows) == len(GROWTH) * len(LENGTHS)
    assert [row["arm"] for row in table.rows] == sorted(
        (arm for arm, _ in GROWTH for _ in LENGTHS), key=study.arms.index
    )
    far = rows["rope", "rope_yarn", 4096]
    assert (far["seeds"], far["reason"]) == (3, None)
    assert far["loss"] == pytest.approx(4.1 + 0.44)
    assert far["last_loss_change"] == pytest.approx(0.88)
    assert math.isnan(rows["rope", "own", 256]["loss_change"])
    beyond = rows["learned", "own", 512]
    assert (beyond["seeds"], beyond["reason"]) == (0, REASON)
    assert math.isnan(beyond["loss"])
    markdown = table.markdown()
    assert REASON in markdown
    assert "| rope | rope_yarn | 4,096 | 3 | 4.540 | +0.440 |" in markdown
    assert " nan " not in markdown


def test_the_arm_that_changes_least_is_told_from_the_others(study):
    """`none` changes by 0.8 + 0.04 s over seeds s, rope by 1.2 + 0.04 s, both twice for late targets."""
    frame = read_extrapolation(study.runs)
    text, holds = least_change(frame, "rope", 0.95)
    assert holds is False
    assert text == ("late targets' loss changes by +2.480 up to length 4,096; least in another arm: none, +1.680")
    assert least_change(frame, "none", 0.95)[1] is True
    noisy = frame.assign(last_loss=frame["last_loss"] + frame["seed"] * (frame["length"] == 4096))
    assert least_change(noisy, "none", 0.95)[1] is None  # Welch: 0.8 apart with a spread of 1.1
    assert least_change(frame, "learned", 0.95)[1] is None


def test_the_declared_analysis_makes_table_figure_and_claim(study):
    target = "llamalab.analysis.extrapolation.ExtrapolationAnalysis"
    declared = dataclasses.replace(study, record=study.record | {"analyses": {"lengths": {"_target_": target}}})
    (extra,) = extras(declared)
    assert [table.name for table in extra.tables] == ["extrapolation_nano_extrapolation"]
    assert [drawing.part for drawing in extra.figures] == ["extrapolation"]
    assert extra.claims["longest"][1] is False
    for run in study.runs:
        (run.path / "extrapolation.json").unlink()
    assert extras(declared)[0].tables == []


def test_the_figure_has_a_line_for_each_encoding_in_both_panels(study, tmp_path):
    figure = extrapolation_figure(read_extrapolation(study.runs), arm_colours(study.arms, study.baseline))
    colours = arm_colours(study.arms, study.baseline)
    for axes, factor in zip(figure.axes, (1, 2), strict=True):
        lines = {line.get_label(): line for line in axes.get_lines()}
        assert set(lines) == {"rope", "rope_yarn", "none", "learned"}
        assert list(lines["rope"].get_xdata()) == list(LENGTHS.values())
        assert list(lines["learned"].get_xdata()) == [256]
        assert lines["none"].get_ydata()[-1] == pytest.approx(factor * (4.1 + 0.84))
        assert lines["rope_yarn"].get_color() == lines["rope"].get_color() == colours["rope"]
        assert lines["rope_yarn"].get_linestyle() != lines["rope"].get_linestyle()
        assert [label.get_text() for label in axes.get_xticklabels()] == ["256", "512", "4k"]
    svg = write_figure(figure, tmp_path, "extrapolation")
    assert (tmp_path / "extrapolation.png").stat().st_size > 1000
    assert "late targets" in svg


def test_an_archive_keeps_what_was_measured(study, tmp_path):
    declared = dataclasses.replace(study, record=study.record | {"probes": {"extrapolation": {}}})
    write_archive([declared], tmp_path / "results")
    (read,) = read_archive(tmp_path / "results/nano")
    pd.testing.assert_frame_equal(read_extrapolation(read.runs), read_extrapolation(study.runs))
