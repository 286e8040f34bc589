"""The report in MLflow: artifacts and notes on the parent run; trouble is a message, never an exception."""

import dataclasses
import json
import socket
import time
from pathlib import Path

import pytest

from llamalab.analysis.mlflow_log import log_report
from llamalab.analysis.records import Study, read_study

DASHBOARD = "http://localhost:5000"


def shown_in(entry: dict, study_folder: Path) -> Study:
    study = read_study(study_folder / "study.json")
    return dataclasses.replace(study, record=study.record | {"mlflow": entry})


@pytest.fixture
def finished_report(tmp_path: Path) -> Path:
    """A folder like the report's."""
    reports = tmp_path / "reports"
    for name in ("index.html", "tables/arms.csv", "figures/forest.svg"):
        (reports / name).parent.mkdir(parents=True, exist_ok=True)
        (reports / name).write_text(name)
    return reports


def test_page_tables_and_note_are_logged(study_folder, finished_report, tmp_path):
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.create_experiment("studies", artifact_location=str(tmp_path / "artifacts"))
    run_id = client.create_run(experiment).info.run_id
    entry = {"tracking_uri": f"sqlite:///{tmp_path}/mlflow.db", "experiment_id": experiment, "parent_run_id": run_id}
    study = shown_in(entry, study_folder)

    assert log_report(study, "## verdict", finished_report, DASHBOARD) is None
    assert [entry.path for entry in client.list_artifacts(run_id, "report")] == [
        "report/figures",
        "report/index.html",
        "report/tables",
    ]
    note = client.get_run(run_id).data.tags["mlflow.note.content"]
    assert client.get_experiment(experiment).tags["mlflow.note.content"] == note
    assert note.endswith("\n\n## verdict")
    assert f"(http://localhost:5000/#/experiments/{experiment}/runs?viewStateShareKey=position_nano" in note
    view = json.loads(client.get_experiment(experiment).tags["mlflow.sharedViewState.position_nano"])
    assert view["searchFilter"] == "tags.study = 'position' and tags.scale = 'nano' and tags.stage = 'final'"
    assert view["groupBy"]["groupByKeys"] == [{"mode": "tag", "groupByData": "arm"}]


def test_a_server_that_is_not_there_is_one_quick_message(study_folder, finished_report):
    with socket.socket() as free:  # a port that nobody listens on
        free.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
    entry = {"tracking_uri": uri, "experiment_id": "1", "parent_run_id": "ab"}
    study = shown_in(entry, study_folder)
    start = time.monotonic()
    message = log_report(study, "", finished_report, DASHBOARD)
    assert time.monotonic() - start < 10
    assert message is not None
    assert uri in message
    assert "\n" not in message


def test_a_database_that_is_gone_is_not_made_anew(study_folder, finished_report, tmp_path):
    entry = {"tracking_uri": f"sqlite:///{tmp_path}/gone.db", "experiment_id": "1", "parent_run_id": "ab"}
    study = shown_in(entry, study_folder)
    message = log_report(study, "", finished_report, DASHBOARD)
    assert message is not None
    assert "gone.db" in message
    assert not (tmp_path / "gone.db").exists()
