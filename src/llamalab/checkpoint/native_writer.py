"""Writes a checkpoint as a run directory with one step."""

import shutil
from pathlib import Path

import torch
import yaml

from llamalab.checkpoint.native import META, WEIGHTS, step_directory
from llamalab.checkpoint.safetensors_writer import write_safetensors
from llamalab.checkpoint.source import Source
from llamalab.common.errors import UserError
from llamalab.common.files import sha256_file, write_json, write_text


def write(source: Source, folder: Path, dtype: torch.dtype | None, shards: int | None) -> None:
    """Writes everything into `folder`.

    Args:
        source: what to write.
        folder: an empty folder.
        dtype: converts the weights to it; None leaves each as it is.
        shards: must be 1 or None.
    """
    if shards not in (None, 1):
        raise UserError(f"shards: {shards} is not possible in our own format, which has one file; leave it out")
    write_text(folder / "config.yaml", yaml.safe_dump(source.config, sort_keys=False, allow_unicode=True))
    for file in source.tokenizer_files:
        shutil.copyfile(file, folder / file.name)
    checkpoint = step_directory(folder, int(source.meta.get("step", 0)))
    checkpoint.mkdir(parents=True)
    write_safetensors(checkpoint / WEIGHTS, source.weights, dtype)
    facts = {key: value for key, value in source.meta.items() if key not in ("sizes", "weights_sha256")}
    record = {
        "step": 0,
        **facts,
        "weights_sha256": sha256_file(checkpoint / WEIGHTS),
        "sizes": {WEIGHTS: (checkpoint / WEIGHTS).stat().st_size},
    }
    write_json(checkpoint / META, record)
