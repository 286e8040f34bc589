"""What a sweep leaves beside its runs: the declaration as it was run, the chosen rates, the MLflow parent run."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

from llamalab.common.configs import repository_folder
from llamalab.common.errors import UserError
from llamalab.common.files import read_json, sha256_file, write_json
from llamalab.common.provenance import git_commit
from llamalab.training import study as declaration

FILE = "study.json"
RATES_FILE = "learning_rates.json"
SWEEP_LOCK = ".sweep.lock"


@contextmanager
def exclusive(sweep_dir: Path) -> Iterator[None]:
    """Holds the study against a second sweep.

    Raises:
        UserError: another sweep of it is running.
    """
    sweep_dir.mkdir(parents=True, exist_ok=True)
    lock = FileLock(sweep_dir / SWEEP_LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise UserError(
            f"{sweep_dir}: another sweep of this study is running here; wait for it or choose another runs_dir"
        ) from None
    try:
        yield
    finally:
        lock.release()


def prepare(cfg: DictConfig, sweep_dir: Path, arguments: list[str]) -> None:
    """Writes study.json and opens the MLflow parent run, once; a repeated command finds both."""
    study: dict[str, Any] = OmegaConf.to_container(cfg.study, resolve=True)  # type: ignore[assignment]
    path = sweep_dir / FILE
    before = read_json(path) if path.exists() else {}
    source = repository_folder("experiments") / f"{study['name']}.yaml"
    record = {
        **{key: value for key, value in study.items() if key != "arm"},
        "hash": declaration.study_hash(study),
        "file_sha256": sha256_file(source) if source.is_file() else None,
        "scale": cfg.scale.name,
        "scale_config": OmegaConf.to_container(cfg.scale, resolve=True),
        "command": " ".join(["llamalab", "train", "-m", *arguments]),
        "mlflow": before.get("mlflow") or _mlflow_parent(cfg, study),
    }
    write_json(path, record)


def read_record(run_dir: Path) -> dict[str, Any] | None:
    """study.json of the sweep that holds the run, `<study>/<scale>/<arm>/[lr=<v>/]seed=<s>`, if this is one."""
    for folder in list(run_dir.parents)[1:3]:
        if (folder / FILE).exists():
            record: dict[str, Any] = read_json(folder / FILE)
            return record
    return None


def _mlflow_parent(cfg: DictConfig, study: dict[str, Any]) -> dict[str, str] | None:
    if cfg.logger.mlflow is None:
        return None
    from llamalab.training.mlflow_log import connect

    settings = cfg.logger.mlflow
    try:
        client, experiment_id = connect(settings.tracking_uri, settings.experiment, settings.artifacts)
        tags = {"study": study["name"], "scale": cfg.scale.name, "commit": git_commit() or ""}
        tags["mlflow.note.content"] = study["question"]
        parent = client.create_run(experiment_id, run_name=f"{study['name']} ({cfg.scale.name})", tags=tags)
    except Exception as error:
        warnings.warn(f"MLflow at {settings.tracking_uri} cannot be used ({error}); the sweep goes on", stacklevel=2)
        return None
    return {
        "tracking_uri": settings.tracking_uri,
        "experiment_id": experiment_id,
        "parent_run_id": parent.info.run_id,
    }


def close_parent(sweep_dir: Path, status: str) -> None:
    """Ends the MLflow parent run: FINISHED, FAILED (a run could not be made) or KILLED (interrupted)."""
    record = read_json(sweep_dir / FILE)
    if not record["mlflow"]:
        return
    from mlflow import MlflowClient

    try:
        MlflowClient(record["mlflow"]["tracking_uri"]).set_terminated(record["mlflow"]["parent_run_id"], status)
    except Exception as error:
        warnings.warn(f"MLflow at {record['mlflow']['tracking_uri']} cannot be used ({error})", stacklevel=2)
