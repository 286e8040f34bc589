"""Which MLflow run a training run is shown as: its name, its tags, its parent."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from llamalab.common.provenance import provenance
from llamalab.training import launch, study_record
from llamalab.training.mlflow_log import MLflowLog


def make_mlflow_log(cfg: DictConfig, config: dict[str, Any], run_dir: Path) -> MLflowLog | None:
    """The MLflow view of this run, or None when `logger=none` or on another rank than the first."""
    if cfg.logger.mlflow is None or launch.rank() != 0:
        return None
    arm = config["study"]["arm"] if config["study"] else None
    record = study_record.read_record(run_dir) if config["study"] else None
    parent = record["mlflow"]["parent_run_id"] if record and record.get("mlflow") else None
    sweep = (config["study"] or {}).get("learning_rate") or {}
    swept = cfg.seed in sweep.get("seeds", [])
    rate = config["optimizer"]["lr"]
    name = f"{arm} seed {cfg.seed}" if arm else f"{cfg.name} {cfg.scale.name} seed {cfg.seed}"
    name += f" lr {rate:.3g}" if swept else ""
    tags = {
        "study": config["study"]["name"] if config["study"] else "",
        "arm": arm or "",
        "seed": str(cfg.seed),
        "scale": cfg.scale.name,
        "lr": str(rate),
        "stage": "sweep" if swept else "final",
        "commit": provenance()["commit"] or "",
        "run_dir": str(run_dir),
    }
    parameters = {
        f"{group}.{key}": value
        for group in ("scale", "optimizer", "trainer")
        for key, value in config[group].items()
        if not key.startswith("_")
    }
    return MLflowLog(
        **cfg.logger.mlflow, run_dir=run_dir, run_name=name, tags=tags, parent=parent, parameters=parameters
    )
