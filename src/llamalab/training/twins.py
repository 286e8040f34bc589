"""Runs that are the same computation: trained once, taken over wherever they are needed again."""

import os
import shutil
from pathlib import Path
from typing import Any

import yaml

from llamalab.common.files import read_json, write_json, write_text
from llamalab.training.result import study_entry
from llamalab.training.run_directory import config_hash

PLACES = ("*/{scale}/seed=*/result.json", "*/{scale}/*/seed=*/result.json", "*/{scale}/*/lr=*/seed=*/result.json")
# What says where or for what a run was made, and so is not taken over with it.
OWN_FILES = {"config.yaml", "result.json", ".lock", "mlflow_run_id"}


def find(runs_dir: Path, config: dict[str, Any]) -> Path | None:
    """The folder of an ended run of the same computation below `runs_dir`, if there is one."""
    wanted = config_hash(config)
    for place in PLACES:
        for path in sorted(runs_dir.glob(place.format(scale=config["scale"]["name"]))):
            if read_json(path).get("config_hash") == wanted:
                return path.parent
    return None


def adopt(twin: Path, run_dir: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Makes `run_dir` what training would have made it, from the files of its twin; returns its result.

    Checkpoints are hard links where the file system has them. `result.json` is written last, as always.
    """
    for source in sorted(twin.rglob("*")):
        target = run_dir / source.relative_to(twin)
        if source.is_file() and source.name not in OWN_FILES and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(source, target)
            except OSError:
                shutil.copy2(source, target)
    write_text(run_dir / "config.yaml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
    result: dict[str, Any] = read_json(twin / "result.json")
    result |= {"name": config["name"], "study": study_entry(config["study"]), "taken_over_from": str(twin)}
    write_json(run_dir / "result.json", result)
    return result
