"""MLflow shows what the run directory says, and its absence stops nothing."""

import json
from collections import Counter
from pathlib import Path

import command_line
import pytest
from filelock import FileLock

from llamalab.training.interrupt import StopRequest

RUN = Path("default/tiny/seed=0")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs_dir(tiny_corpus, shared_folder):
    """A study of two arms and two seeds in a database of its own; its third run was interrupted and resumed."""
    folder = shared_folder / "mlflow"
    arguments = tiny_corpus.overrides(
        runs_dir=folder,
        scale__tokens=10 * 256,
        scale__warmup_tokens=512,
        scale__eval_every_tokens=5 * 256,
        trainer__log_every_steps=1,
        logger="mlflow",
    )
    places = [f"logger.mlflow.tracking_uri=sqlite:///{folder}/mlflow.db", f"logger.mlflow.artifacts={folder}/artifacts"]
    with FileLock(f"{folder}.lock"):
        for stop in () if folder.exists() else (27, 0):
            steps = iter(range(1, 1000))
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(StopRequest, "agreed", lambda *_, steps=steps, stop=stop: next(steps) == stop)
                outcome = command_line.run_here("train", "-m", "experiments=two", *arguments, *places)
            assert outcome.code == (130 if stop else 0), outcome.stderr
            assert "warning" not in outcome.stderr
    return folder


@pytest.fixture(scope="module")
def client(runs_dir):
    """Reads that database."""
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{runs_dir}/mlflow.db")


def shown(client):
    """(parents, children) among the runs that MLflow shows."""
    (experiment,) = [found for found in client.search_experiments() if found.name == "llamalab"]
    runs = client.search_runs([experiment.experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    return parents, children


def test_one_parent_with_a_child_for_each_run(client, runs_dir):
    parents, children = shown(client)
    record = json.loads((runs_dir / "norm/tiny/study.json").read_text())
    assert [run.info.run_id for run in parents] == [record["mlflow"]["parent_run_id"]]
    assert parents[0].data.tags["study"] == "norm"
    assert parents[0].info.status == "FINISHED"
    assert parents[0].data.tags["mlflow.note.content"] == record["question"]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parents[0].info.run_id}
    assert Counter((run.data.tags["arm"], run.data.tags["seed"]) for run in children) == {
        (arm, seed): 1 for arm in ("rmsnorm", "layernorm") for seed in ("0", "1")
    }
    assert {run.info.status for run in children} == {"FINISHED"}
    assert {run.info.run_name for run in children} == {
        f"{arm} seed {seed}" for arm in ("rmsnorm", "layernorm") for seed in (0, 1)
    }


def test_its_points_are_the_rows_each_once_though_a_run_was_resumed(client, runs_dir):
    _, children = shown(client)
    assert len(children) == 4
    for run in children:
        rows = command_line.rows(runs_dir / "norm/tiny" / run.data.tags["arm"] / f"seed={run.data.tags['seed']}")
        for key in {key for row in rows for key in row} - {"step", "seconds"}:
            points = [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, key)]
            expected = [(row["step"], row[key]) for row in rows if key in row]
            if key == "tokens":  # a step's training and validation rows both state them: one point if in one instant
                points, expected = set(points), set(expected)
            assert Counter(points) == Counter(expected), key
        assert len(rows) == 12
        assert "seconds" not in run.data.metrics


def test_parameters_and_artifacts(client):
    _, children = shown(client)
    for run in children:
        assert run.data.params["scale.dim"] == "32"
        assert run.data.params["optimizer.lr"] == "0.003"
        names = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
        assert names == {"config.yaml", "result.json"}


def test_a_server_that_does_not_answer_gives_one_warning(tiny_corpus, tmp_path, undisturbed):
    arguments = tiny_corpus.overrides(runs_dir=tmp_path, logger="mlflow")
    outcome = command_line.run_here("train", *arguments, "logger.mlflow.tracking_uri=http://127.0.0.1:9")
    assert outcome.code == 0
    assert outcome.stdout == ""
    assert len(outcome.error_lines) == 2, outcome.stderr
    assert outcome.error_lines[0].startswith("warning: MLflow at http://127.0.0.1:9 cannot be used")
    assert command_line.weights_hash(tmp_path / RUN) == command_line.weights_hash(undisturbed())
    assert command_line.timeless(tmp_path / RUN) == command_line.timeless(undisturbed())


def test_a_study_without_a_server_runs_too(tiny_corpus, tmp_path):
    arguments = tiny_corpus.overrides(
        runs_dir=tmp_path, logger="mlflow", scale__tokens=4 * 256, scale__warmup_tokens=256
    )
    outcome = command_line.run_here(
        "train",
        "-m",
        "experiments=two",
        *arguments,
        "logger.mlflow.tracking_uri=http://127.0.0.1:9",
    )
    assert outcome.code == 0
    assert len(list(tmp_path.rglob("result.json"))) == 4
    assert json.loads((tmp_path / "norm/tiny/study.json").read_text())["mlflow"] is None
    assert all(line.startswith(("warning: MLflow at", "norm/tiny/")) for line in outcome.error_lines)


def test_an_outage_in_the_middle_is_one_warning(tiny_corpus, tmp_path, monkeypatch):
    from llamalab.training import mlflow_log

    class Client:
        def create_run(self, *_: object, **__: object) -> object:
            return type("Run", (), {"info": type("Info", (), {"run_id": "abc"})})

        def log_batch(self, run_id: str, params: object = None, metrics: object = None) -> None:
            if metrics is not None:
                raise ConnectionError("gone")

        def log_artifact(self, *_: object) -> None: ...

    monkeypatch.setattr(mlflow_log, "connect", lambda *_: (Client(), "1"))
    monkeypatch.setattr(mlflow_log, "BATCH", 20)
    outcome = command_line.run_here("train", *tiny_corpus.overrides(runs_dir=tmp_path, logger="mlflow"))
    assert outcome.code == 0
    assert [line.startswith("warning: MLflow at") for line in outcome.error_lines] == [True, False]
    assert "(gone)" in outcome.error_lines[0]
