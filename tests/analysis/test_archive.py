"""Archived studies: the report from the committed CSV files is the report from the runs, byte for byte."""

import json
from pathlib import Path

import pandas as pd
import pytest
from report_builders import write_documents, write_run, write_sweep

from llamalab.analysis import report
from llamalab.analysis.archive import read_archive, write_archive
from llamalab.analysis.records import find_studies, read_metrics
from llamalab.common.errors import UserError


@pytest.fixture
def rich_study(study_folder: Path) -> Path:
    """A study with a sweep, documents, a diverged and an unfinished run."""
    write_documents(study_folder)
    write_sweep(study_folder)
    path = study_folder / "learned/seed=1/result.json"
    lost = {
        "status": "diverged",
        "diverged_at_step": 77,
        "diverged_because": 'the loss, it was "lost"',
        "validation": None,
    }
    path.write_text(json.dumps(json.loads(path.read_text()) | lost))
    (study_folder / "none/seed=2/result.json").unlink()
    return study_folder


def test_tables_and_findings_come_out_the_same(rich_study, report_config, tmp_path):
    live = {"findings": str(tmp_path / "live.md"), "archive": str(tmp_path / "results"), "studies": ["position"]}
    report.run(report_config(**live, log_to_mlflow=False))
    tables = {path.name: path.read_bytes() for path in (tmp_path / "reports/tables").glob("position_*")}
    records = {"records": str(tmp_path / "results/nano"), "findings": str(tmp_path / "again.md")}
    report.run(report_config(**records, archive=str(tmp_path / "twice"), log_to_mlflow=False))
    again = {path.name: path.read_bytes() for path in (tmp_path / "reports/tables").glob("position_*")}
    assert len(tables) >= 10
    assert again == tables
    assert (tmp_path / "again.md").read_text() == (tmp_path / "live.md").read_text()
    first, second = tmp_path / "results/nano", tmp_path / "twice/nano"
    assert {path.name for path in first.iterdir()} == {
        "position.json",
        "position_runs.csv",
        "position_curves.csv",
        "position_documents.csv",
    }
    assert all(path.read_bytes() == (second / path.name).read_bytes() for path in first.iterdir())


def test_nothing_about_a_run_is_lost(rich_study, tmp_path):
    (study,) = find_studies(tmp_path / "runs", ["position"], None)
    write_archive([study], tmp_path / "results")
    (read,) = read_archive(tmp_path / "results/nano")
    assert [run.status for run in read.runs] == [run.status for run in study.runs]
    for ours, theirs in zip([*study.runs, *study.sweep], [*read.runs, *read.sweep], strict=True):
        assert (ours.arm, ours.seed, ours.rate, ours.result) == (theirs.arm, theirs.seed, theirs.rate, theirs.result)
        if ours.ended:
            curve = read_metrics(ours)[["tokens", "validation/loss"]].dropna().reset_index(drop=True)
            kept = read_metrics(theirs)[["tokens", "validation/loss"]].dropna().reset_index(drop=True)
            pd.testing.assert_frame_equal(kept, curve, check_dtype=False)
    pd.testing.assert_frame_equal(read.documents, study.documents, check_dtype=False)


def test_runs_of_two_corpora_are_refused_from_an_archive_too(rich_study, tmp_path):
    (study,) = find_studies(tmp_path / "runs", ["position"], None)
    write_archive([study], tmp_path / "results")
    path = tmp_path / "results/nano/position_runs.csv"
    lines = path.read_text().splitlines(keepends=True)
    lines[1] = lines[1].replace("embedded", "other")
    path.write_text("".join(lines))
    with pytest.raises(UserError, match="another corpus"):
        read_archive(path.parent)


def test_a_missing_file_is_named(rich_study, tmp_path):
    (study,) = find_studies(tmp_path / "runs", ["position"], None)
    write_archive([study], tmp_path / "results")
    (tmp_path / "results/nano/position_curves.csv").unlink()
    with pytest.raises(UserError, match=r"position_curves\.csv: no such file"):
        read_archive(tmp_path / "results/nano")


def test_a_single_run_beside_a_study_is_not_archived(rich_study, report_config, tmp_path):
    write_run(tmp_path / "runs/default/nano/seed=0", None, "rope", 0, 0.0, 24_000)
    report.run(report_config(archive=str(tmp_path / "results"), log_to_mlflow=False))
    assert "default" not in (tmp_path / "results/nano/position_runs.csv").read_text()
