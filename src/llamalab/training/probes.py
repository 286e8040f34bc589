"""What a study measures on each finished run beside its validation loss.

A probe is a node of the config (`study.probes.<name>`): a callable that takes the run directory and returns what is
written to `<name>.json` in it. The training room knows none of them by name.
"""

from pathlib import Path
from typing import Any

import hydra.utils

from llamalab.common.files import read_json, write_json


def measure(config: dict[str, Any], run_dir: Path) -> None:
    """Runs the probes that have not been run on this run yet.

    A diverged run has nothing to probe, and runs of the learning-rate sweep only choose a rate: nobody reads more of
    them than their loss.
    """
    study = config["study"] or {}
    if study.get("learning_rate") and config["seed"] in study["learning_rate"]["seeds"]:
        return
    declared = study.get("probes") or {}
    missing = {name: node for name, node in declared.items() if not (run_dir / f"{name}.json").exists()}
    if not missing or read_json(run_dir / "result.json")["status"] != "finished":
        return
    for name, node in missing.items():
        write_json(run_dir / f"{name}.json", hydra.utils.instantiate(node, _convert_="all")(run_dir))
