"""`llamalab plan`: parameters, FLOP, memory, hours, energy and carbon of a run that has not been started."""

import json
from dataclasses import asdict
from typing import Any, TypeVar

import hydra.errors
import hydra.utils
import torch
from omegaconf import DictConfig

from llamalab.analysis.memory import GIB, Memory, Precision, Sharding, memory, shapes_of
from llamalab.analysis.plan_tables import tables_of
from llamalab.common.configs import check_targets, check_type, closest, resolved
from llamalab.common.console import console
from llamalab.common.energy import SECONDS_PER_HOUR, Device, EnergyModel
from llamalab.common.errors import UserError
from llamalab.model.llama import Llama

Choice = TypeVar("Choice")
KINDS: dict[str, Any] = {"gpus": int, "mfu": float, "gpu_hours": float | None, "json": bool}


def run(cfg: DictConfig) -> None:
    """Prints the plan as a table, or with json=true as JSON and nothing else.

    Raises:
        UserError: a value that is out of range or unknown, or a model that cannot be built.
    """
    plan = plan_of(cfg)
    if cfg.json:
        print(json.dumps(plan, indent=2))
    else:
        for table in tables_of(plan):
            console.print(table.rich())


def plan_of(cfg: DictConfig) -> dict[str, Any]:
    """The plan as plain figures in SI units; its keys are explained in docs/plan.md."""
    for key, kind in KINDS.items():
        check_type(key, cfg[key], kind)
    for key in ("gpus", "mfu", "gpu_hours"):
        if cfg[key] is not None and cfg[key] <= 0:
            raise UserError(f"{key}: {cfg[key]} must be above 0")
    if cfg.mfu > 1:
        raise UserError(f"mfu: {cfg.mfu} is a fraction of the peak; it cannot exceed 1")
    check_targets(cfg)
    config = resolved(cfg)
    precision = _choice(config, "precision", "precisions", Precision)
    sharding = _choice(config, "sharding", "shardings", Sharding)
    device: Device = hydra.utils.instantiate(cfg.device)
    energy: EnergyModel = hydra.utils.instantiate(cfg.energy)
    if precision.peak not in device.peak_flops:
        raise UserError(f"device.peak_flops.{precision.peak}: missing; precision={cfg.precision} needs it")
    scale, model = config["scale"], build_on_meta(cfg)
    sequences = sequences_per_device(scale, cfg.gpus)
    needed = memory(shapes_of(model), precision, sharding, cfg.gpus, sequences * scale["seq_len"])
    return {
        "scale": scale["name"],
        "gpus": cfg.gpus,
        "device": device.name,
        "precision": cfg.precision,
        "sharding": cfg.sharding,
        "parameters": model.parameter_counts(),
        "training": training_cost(cfg, model, scale, device, energy, device.peak_flops[precision.peak]),
        "memory": memory_record(needed, device, sequences),
        "inference": {"flops_per_token_2n": 2 * model.parameter_counts()["total"]},
    }


def _choice(config: dict[str, Any], key: str, table: str, kind: type[Choice]) -> Choice:
    name, choices = str(config[key]), config[table]
    if name not in choices:
        raise UserError(f"{key}: '{name}' is not known{closest(name, choices)}")
    try:
        return kind(**choices[name])
    except TypeError as error:
        raise UserError(f"{table}.{name}: {str(error).split(') ', 1)[-1]}") from None


def build_on_meta(cfg: DictConfig) -> Llama:
    """The configured model without memory for its weights. Raises UserError for one that cannot be built."""
    try:
        with torch.device("meta"):
            model = hydra.utils.instantiate(cfg.model)
    except hydra.errors.InstantiationException as error:
        if isinstance(error.__cause__, ValueError):
            raise UserError(f"scale.{error.__cause__}") from None
        raise
    assert isinstance(model, Llama)
    return model


def sequences_per_device(scale: dict[str, Any], devices: int) -> int:
    """Sequences of one forward pass on one device. Raises UserError if the batch has fewer than there are devices."""
    batch = scale["batch_tokens"] // scale["seq_len"]
    if batch < devices:
        raise UserError(
            f"gpus: {devices} devices cannot share a batch of {batch} sequences; use fewer, or raise scale.batch_tokens"
        )
    share = -(-batch // devices)
    return min(scale["micro_batch"] or share, share)


def training_cost(
    cfg: DictConfig, model: Llama, scale: dict[str, Any], device: Device, energy: EnergyModel, peak: float
) -> dict[str, float]:
    """FLOP, speed, time, energy and carbon of the whole run; from `mfu`, or from `gpu_hours` where given."""
    tokens, flops = scale["tokens"], model.flops_per_token(scale["seq_len"])
    flops_6n = 6 * model.parameter_counts()["total"]
    speed = tokens / (cfg.gpu_hours * SECONDS_PER_HOUR) if cfg.gpu_hours else cfg.mfu * peak / flops
    gpu_hours = tokens / speed / SECONDS_PER_HOUR
    kwh = energy.kwh(gpu_hours, device.watts)
    return {
        "tokens": tokens,
        "flops_per_token": flops,
        "flops_per_token_6n": flops_6n,
        "flops": flops * tokens,
        "flops_6n": flops_6n * tokens,
        "peak_flops_per_gpu": peak,
        "mfu": speed * flops / peak,
        "mfu_6n": speed * flops_6n / peak,
        "tokens_per_second_per_gpu": speed,
        "gpu_hours": gpu_hours,
        "hours": gpu_hours / cfg.gpus,
        "watts": device.watts,
        "pue": energy.pue,
        "kg_per_kwh": energy.kg_per_kwh,
        "kwh": kwh,
        "tco2eq": energy.tco2eq(kwh),
    }


def memory_record(needed: Memory, device: Device, sequences: int) -> dict[str, Any]:
    """Bytes by part, and whether the sums fit the device (None where its memory is not fixed)."""
    limit = None if device.memory_gib is None else device.memory_gib * GIB
    return {
        "sequences_per_forward": sequences,
        **asdict(needed),
        "total": needed.total,
        "total_checkpointed": needed.total_checkpointed,
        "device_bytes": limit,
        "fits": None if limit is None else needed.total <= limit,
        "fits_checkpointed": None if limit is None else needed.total_checkpointed <= limit,
    }
