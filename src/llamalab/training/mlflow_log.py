"""MLflow as a view of the run directory: useful, never needed.

Lightning's own MLFlowLogger writes each point synchronously and lets an outage end the run; here points are sent in
batches, and the first failure turns the logger off with one warning.
"""

import os
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from llamalab.common.files import write_text
from llamalab.training.metrics_log import FILE, read_rows

if TYPE_CHECKING:
    from mlflow import MlflowClient

RUN_ID_FILE = "mlflow_run_id"
BATCH = 500  # points sent in one request; MLflow takes at most 1000
# MLflow's own defaults wait for minutes on a server that does not answer, and report usage to its makers.
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def connect(tracking_uri: str, experiment: str, artifacts: str) -> tuple["MlflowClient", str]:
    """A client and the id of the experiment, made if it is not there yet.

    A fresh sqlite database is created by one process while others wait: several creating it at once corrupt it.
    """
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    import logging

    from mlflow import MlflowClient

    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # its retries; what comes of them is ours to say
    local = tracking_uri.startswith("sqlite:///")
    path = Path(tracking_uri.removeprefix("sqlite:///")).absolute() if local else Path(artifacts).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        client = MlflowClient(tracking_uri=f"sqlite:///{path}" if local else tracking_uri)
        found = client.get_experiment_by_name(experiment)
        if found is not None:
            return client, found.experiment_id
        # a server decides itself where artifacts go; a database file has no opinion
        location = Path(artifacts).absolute().as_uri() if local else None
        return client, client.create_experiment(experiment, artifact_location=location)


class MLflowLog(Logger):
    """Sends the rows of metrics.jsonl to an MLflow run.

    A resumed run is shown as a fresh MLflow run rebuilt from the rows on disk, in place of the interrupted one, so
    no point appears twice.

    Args:
        tracking_uri: any MLflow tracking URI; `sqlite:///mlflow.db` needs no server.
        experiment: the experiment's name.
        artifacts: folder for artifacts when the tracking store is a local database.
        run_dir: the run directory.
        run_name: shown in MLflow.
        tags: shown and searchable.
        parent: id of the sweep's parent run, or None.
        parameters: flat name -> value, the choices worth comparing.
    """

    def __init__(
        self,
        tracking_uri: str,
        experiment: str,
        artifacts: str,
        run_dir: Path,
        run_name: str,
        tags: Mapping[str, str],
        parent: str | None,
        parameters: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.tracking_uri, self.experiment_name, self.artifacts = tracking_uri, experiment, artifacts
        self.run_dir, self.run_name, self.parameters = run_dir, run_name, parameters
        self.tags = {**tags, **({"mlflow.parentRunId": parent} if parent else {})}
        self._points: list[Any] = []
        self._run_id: str | None = None
        self._tokens_step: int | None = None
        self._off = False

    @property
    def name(self) -> str:
        """The experiment's name."""
        return self.experiment_name

    @property
    def version(self) -> str | None:
        """The MLflow run id, once there is one."""
        return self._run_id

    def _guard(self, error: Exception) -> None:
        self._off = True
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        warnings.warn(
            f"MLflow at {self.tracking_uri} cannot be used ({reason[:200]}); training goes on, its figures are in "
            f"{self.run_dir / FILE}",
            stacklevel=2,
        )

    @rank_zero_only
    def start(self) -> None:
        """Opens the MLflow run and sends what is on disk already."""
        try:
            self._client, experiment_id = connect(self.tracking_uri, self.experiment_name, self.artifacts)
            marker = self.run_dir / RUN_ID_FILE
            if marker.exists():
                self._forget(marker.read_text().strip())
            run = self._client.create_run(experiment_id, run_name=self.run_name, tags=self.tags)
            self._run_id = run.info.run_id
            write_text(marker, self._run_id)
            from mlflow.entities import Param

            # values are cut at MLflow's limit; the whole config travels as an artifact
            parameters = [Param(key, str(value)[:500]) for key, value in self.parameters.items()]
            self._client.log_batch(self._run_id, params=parameters)
            self._client.log_artifact(self._run_id, str(self.run_dir / "config.yaml"))
            for row in read_rows(self.run_dir):
                self.log_metrics(row, row["step"])
        except Exception as error:
            self._guard(error)

    def _forget(self, run_id: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.delete_run(run_id)
        except MlflowException:
            return  # another database, or already deleted by hand

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Queues one row; the x axis is the optimizer step, tokens are a metric of their own."""
        if self._off:
            return
        from mlflow.entities import Metric
        from mlflow.utils.time import get_current_time_millis

        now = get_current_time_millis()
        # a step's training and validation rows state the same tokens: one point
        known = ("step", "seconds", "tokens") if step == self._tokens_step else ("step", "seconds")
        self._tokens_step = step
        named = {key: value for key, value in metrics.items() if key not in known}
        self._points += [Metric(key, value, now, step or 0) for key, value in named.items()]
        if len(self._points) >= BATCH:
            self.save()

    @rank_zero_only
    def save(self) -> None:
        """Sends what is queued."""
        if self._off or not self._points or self._run_id is None:
            return
        try:
            for part in _chunks(self._points, BATCH):
                self._client.log_batch(self._run_id, metrics=part)
        except Exception as error:
            self._guard(error)
        self._points = []

    @rank_zero_only
    def finish(self, status: str, result: Path | None) -> None:
        """Ends the MLflow run: FINISHED, FAILED (diverged) or KILLED (interrupted)."""
        self.save()
        if self._off or self._run_id is None:
            return
        try:
            if result is not None:
                self._client.log_artifact(self._run_id, str(result))
            self._client.set_terminated(self._run_id, status=status)
        except Exception as error:
            self._guard(error)

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: `start` logs the parameters that are worth comparing."""


def _chunks(items: list[Any], size: int) -> Iterable[list[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))
