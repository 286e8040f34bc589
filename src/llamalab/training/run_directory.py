"""A run directory: who may write to it, what it holds, and whether it is done."""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from llamalab.checkpoint.older_configs import as_first_written
from llamalab.common.errors import UserError
from llamalab.common.files import hash_of, read_json, write_text
from llamalab.training.launch import rank

# What decides a run's numbers. Everything else (where it is written, who logs it, how many devices share it)
# may differ between the command that started a run and the one that resumes it.
COMPUTATION = ("seed", "scale", "model", "data_fingerprint", "optimizer", "schedule")
# Of the data module: where its files lie and how they are cut into micro-batches change nothing. What the files hold
# is in the fingerprint.
DATA_PLACES = ("tokens_folder", "tokenizer", "micro_batch", "verify_hashes")
TRAINER_COMPUTATION = (
    "precision",
    "compile",
    "initialisation",
    "clip_norm",
    "divergence_margin",
    "log_every_steps",
    "matmul_precision",
)
LOCK_PATIENCE_S = 20.0


def computation(config: dict[str, Any]) -> dict[str, Any]:
    """The part of a resolved config that decides the numbers."""
    part = {key: config[key] for key in COMPUTATION}
    part["scale"] = {key: value for key, value in config["scale"].items() if key != "micro_batch"}
    part["model"] = as_first_written(config["model"])
    part["data"] = {key: value for key, value in config["data"]["module"].items() if key not in DATA_PLACES}
    part["trainer"] = {key: config["trainer"][key] for key in TRAINER_COMPUTATION}
    return part


def config_hash(config: dict[str, Any]) -> str:
    """Identifies a run's computation."""
    return hash_of(computation(config))


def _differences(ours: Any, theirs: Any, key: str = "") -> Iterator[str]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name in sorted({*ours, *theirs}):
            yield from _differences(ours.get(name), theirs.get(name), f"{key}.{name}" if key else name)
    elif ours != theirs:
        yield f"{key} is {theirs!r} there and {ours!r} here"


def claim(run_dir: Path, config: dict[str, Any]) -> None:
    """Writes config.yaml into a fresh run directory, or checks that the one there describes the same run.

    Raises:
        UserError: the directory belongs to another config.
    """
    path = run_dir / "config.yaml"
    if path.exists():
        try:
            theirs = computation(yaml.safe_load(path.read_text(encoding="utf-8")))
        except (yaml.YAMLError, KeyError, TypeError):
            raise UserError(f"{path}: not the config of a run; choose another hydra.run.dir or move it away") from None
        difference = next(_differences(json.loads(json.dumps(computation(config))), theirs), None)
        if difference is not None:
            raise UserError(
                f"{run_dir}: holds a run with another config ({difference}); choose another name=..., or remove it"
            )
    else:
        write_text(path, yaml.safe_dump(config, sort_keys=False, allow_unicode=True))


def finished(run_dir: Path, config: dict[str, Any]) -> dict[str, Any] | None:
    """The result of this very computation if it is already there, else None."""
    path = run_dir / "result.json"
    if not path.exists():
        return None
    result: dict[str, Any] = read_json(path)
    if result.get("config_hash") != config_hash(config):
        raise UserError(f"{path}: is the result of another config; choose another name=..., or remove {run_dir}")
    return result


@contextmanager
def exclusive(run_dir: Path) -> Iterator[None]:
    """Holds the directory against a second process; the kernel lets go when this one ends, however it ends.

    Raises:
        UserError: another process still holds it after some seconds.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(run_dir / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        deadline = time.monotonic() + LOCK_PATIENCE_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise UserError(
                        f"{run_dir}: another process is training here; wait for it or stop it first"
                    ) from None
                time.sleep(0.2)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def exclusive_on_rank_zero(run_dir: Path) -> Iterator[None]:
    """`exclusive`, held by the first rank for all of them."""
    if rank() == 0:
        with exclusive(run_dir):
            yield
    else:
        yield
