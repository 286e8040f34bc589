"""The report as artifacts of the study's MLflow parent run. A view of the files, never needed by anything."""

import json
import socket
from pathlib import Path
from urllib.parse import quote, urlparse

from llamalab.analysis.records import Study
from llamalab.common.console import progress_console

CONNECT_SECONDS = 3.0
FINAL = " and tags.stage = 'final'"  # not the runs that only chose a learning rate


def links(study: Study, dashboard: str) -> dict[str, str]:
    """Addresses in MLflow's UI: the study's runs as charts, its final runs alone, and its parent run.

    Args:
        study: its `mlflow` entry names the tracking URI, the experiment and the parent run.
        dashboard: where the UI of a local database is served; a tracking server is its own.
    """
    assert study.mlflow is not None
    uri = str(study.mlflow["tracking_uri"])
    base = uri.rstrip("/") if uri.startswith(("http://", "https://")) else dashboard.rstrip("/")
    experiment = f"{base}/#/experiments/{study.mlflow['experiment_id']}"
    every = _filter(study)
    return {
        "charts": f"{experiment}/runs?viewStateShareKey={study.key}&compareRunsMode=CHART",
        "runs": f"{experiment}/runs?searchFilter={quote(every)}",
        "study": f"{experiment}/runs/{study.mlflow['parent_run_id']}",
    }


def _filter(study: Study) -> str:
    return f"tags.study = '{study.name}' and tags.scale = '{study.scale}'"


def shared_view(study: Study) -> str:
    """The state of MLflow's run page that `links` opens: charts of the final runs, averaged over the seeds of an arm.

    MLflow keeps such views as tags of the experiment (its Share button writes them). Without the grouping its charts
    would show the parent run alone, whose children are folded away.
    """
    state = {
        "searchFilter": _filter(study) + FINAL,
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "compareRunsMode": "CHART",
        "groupBy": {"aggregateFunction": "average", "groupByKeys": [{"mode": "tag", "groupByData": "arm"}]},
    }
    return json.dumps(state)


def log_report(study: Study, summary: str, reports: Path, dashboard: str) -> str | None:
    """Logs page, tables and figures to the parent run and writes `summary` as its and the experiment's note.

    Args:
        study: its `mlflow` entry names the tracking URI, the experiment and the parent run.
        summary: Markdown; links into the UI are put in front.
        dashboard: as in `links`.
        reports: the folder with index.html, tables and figures.

    Returns:
        What to tell the user where MLflow cannot be reached or does not know the run; None if all went well.
    """
    assert study.mlflow is not None
    uri = str(study.mlflow["tracking_uri"])
    to = links(study, dashboard)
    summary = f"[Loss curves of its runs]({to['charts']}), [all of its runs]({to['runs']})\n\n{summary}"
    try:
        _require_reachable(uri)
        # Imported here: it takes seconds, and a report without MLflow does not need it.
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=uri)
        run = str(study.mlflow["parent_run_id"])
        client.set_tag(run, "mlflow.note.content", summary)
        experiment = str(study.mlflow["experiment_id"])
        client.set_experiment_tag(experiment, "mlflow.note.content", summary)
        client.set_experiment_tag(experiment, f"mlflow.sharedViewState.{study.key}", shared_view(study))
        client.log_artifact(run, str(reports / "index.html"), "report")
        for folder in ("tables", "figures"):
            for path in sorted((reports / folder).glob("*")):
                client.log_artifact(run, str(path), f"report/{folder}")
    except Exception as error:  # whatever a tracking server does, the report on disk is complete
        return f"the report of {study.key} was not logged to MLflow at {uri}: {str(error).splitlines()[0]}"
    return None


def _require_reachable(uri: str) -> None:
    """Raises OSError at once where the client would retry for minutes, or would create an empty database."""
    parsed = urlparse(uri)
    if parsed.scheme in ("http", "https"):
        port = parsed.port or (443 if parsed.scheme == "https" else 80)
        socket.create_connection((parsed.hostname or "", port), timeout=CONNECT_SECONDS).close()
    elif parsed.scheme == "sqlite" and not Path(uri.removeprefix("sqlite:///")).is_file():
        raise FileNotFoundError(f"there is no database {uri.removeprefix('sqlite:///')}")


def warn(message: str) -> None:
    """One line on stderr."""
    progress_console.print(f"[yellow]warning:[/] {message}", soft_wrap=True)
