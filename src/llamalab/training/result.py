"""result.json: what a run came to. Written last and atomically, so its presence means "done"."""

import math
from typing import Any

from llamalab.common.energy import Device
from llamalab.common.provenance import provenance
from llamalab.training.cadence import Cadence, DivergedError
from llamalab.training.run_directory import config_hash


def result_record(
    config: dict[str, Any],
    cadence: Cadence,
    parameters: dict[str, int],
    outcome: DivergedError | None,
    hardware: Device,
    devices: int,
    kind: str,
) -> dict[str, Any]:
    """The record of a finished or diverged run on `devices` of `hardware`, of kind cpu or cuda.

    `tokens_per_second` and `mfu` are means over the time spent in optimizer steps; energy counts all of the
    training time, validation and checkpoints included (paper, section 6: hours x watts x PUE).
    """
    counters, plan = cadence.counters, cadence.plan
    step = plan.total if outcome is None else outcome.step
    made_by = provenance()
    speed = cadence.tokens_per_second
    return {
        "status": "finished" if outcome is None else "diverged",
        "config_hash": config_hash(config),
        "step": step,
        "tokens": step * plan.batch_tokens,
        "seconds": counters.seconds,
        "wall_seconds": counters.wall_seconds,
        "cpu_seconds": counters.cpu_seconds,
        "diverged_at_step": None if outcome is None else outcome.step,
        "diverged_because": None if outcome is None else outcome.reason,
        "validation": counters.validation if outcome is None else None,
        "train_loss": counters.train_loss if math.isfinite(counters.train_loss) else None,
        "parameters": parameters,
        "flops_per_token": cadence.flops_per_token,
        "tokens_per_second": speed,
        "mfu": cadence.mfu(speed),
        "peak_memory_bytes": counters.peak_memory_bytes,
        "energy": _energy(config["energy"], counters.wall_seconds, devices, hardware),
        "weights_sha256": None,
        "name": config["name"],
        "seed": config["seed"],
        "scale": config["scale"]["name"],
        "lr": config["optimizer"]["lr"],
        "data": config["data"]["name"],
        "data_fingerprint": config["data_fingerprint"],
        "study": study_entry(config["study"]),
        "commit": made_by["commit"],
        "versions": made_by["versions"],
        "hardware": {
            "device": hardware.name,
            "kind": kind,
            "devices": devices,
            "peak_flops": cadence.peak_flops,
            "cpu": made_by["cpu"],
            "platform": made_by["platform"],
        },
    }


def _energy(constants: dict[str, Any], seconds: float, devices: int, hardware: Device) -> dict[str, float]:
    import hydra.utils

    return hydra.utils.instantiate(constants).record(seconds, devices, hardware.watts)


def study_entry(study: dict[str, Any] | None) -> dict[str, Any] | None:
    """Which arm of which study a run is, and the version of the study's file."""
    if study is None:
        return None
    from llamalab.training.study import study_hash

    return {"name": study["name"], "arm": study["arm"], "baseline": study["baseline"], "hash": study_hash(study)}
