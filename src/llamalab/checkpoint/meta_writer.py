"""Writes a checkpoint in Meta's format: consolidated.NN.pth, params.json, tokenizer.model."""

import shutil
from pathlib import Path
from typing import Any

import torch

from llamalab.checkpoint.llama_parts import LlamaParts, llama_parts
from llamalab.checkpoint.meta import MOST_SHARDS, PARAMS, feed_forward_width
from llamalab.checkpoint.names import shard_dimension
from llamalab.checkpoint.source import Source
from llamalab.checkpoint.tensor_files import LazyTensor
from llamalab.checkpoint.tokenizer import FILE_NAME
from llamalab.common.errors import UserError
from llamalab.common.files import write_json

THETA = 10_000.0  # what Meta's code takes where params.json does not say it


def write(source: Source, folder: Path, dtype: torch.dtype | None, shards: int | None) -> None:
    """Writes everything into `folder`, one shard in memory at a time; each is a pass over the source.

    Args:
        source: what to write.
        folder: an empty folder.
        dtype: converts the weights to it; None leaves each as it is.
        shards: model-parallel ranks that will load it, 1 to 8; None is 1.

    Raises:
        UserError: the architecture cannot be said in params.json, or does not divide by the shards.
    """
    parts = llama_parts(source.model_config, source.path)
    count = shards or 1
    _check(parts, count, source)
    write_json(folder / PARAMS, params_json(parts))
    weights = dict(source.weights)
    if parts.tied_embeddings:  # Meta's format has always both
        weights["output.weight"] = weights["tok_embeddings.weight"]
    for index in range(count):
        shard = {name: _part(name, tensor, index, count, dtype) for name, tensor in weights.items()}
        torch.save(shard, folder / f"consolidated.{index:02d}.pth")
        del shard
    for file in source.tokenizer_files:
        if file.name == FILE_NAME:
            shutil.copyfile(file, folder / FILE_NAME)


def params_json(parts: LlamaParts) -> dict[str, Any]:
    """params.json, such that Meta's rule gives the model's feed-forward width."""
    multiple_of, multiplier = _width_rule(parts)
    found: dict[str, Any] = {
        "dim": parts.dim,
        "n_layers": parts.n_layers,
        "n_heads": parts.n_heads,
        "vocab_size": parts.vocab_size,
        "multiple_of": multiple_of,
        "norm_eps": parts.norm_eps,
    }
    if parts.n_kv_heads != parts.n_heads:
        found["n_kv_heads"] = parts.n_kv_heads
    if multiplier is not None:
        found["ffn_dim_multiplier"] = multiplier
    if parts.theta != THETA:
        found["rope_theta"] = parts.theta
    return found


def _width_rule(parts: LlamaParts) -> tuple[int, float | None]:
    """multiple_of and, if nothing simpler gives the width, ffn_dim_multiplier (Llama 2 and later read it)."""
    plain = feed_forward_width(parts.dim, 1, None)
    rules = [(parts.multiple_of, None), (parts.width, None), (1, (parts.width + 0.5) / plain)]
    return next(rule for rule in rules if feed_forward_width(parts.dim, *rule) == parts.width)


def _check(parts: LlamaParts, count: int, source: Source) -> None:
    where = source.path
    if not 1 <= count <= MOST_SHARDS:
        raise UserError(f"shards: {count} is not possible in Meta's format; give 1 to {MOST_SHARDS}")
    if parts.scaling not in ("RotaryPosition", "NTKRotaryPosition"):
        raise UserError(f"{where}: position: {parts.scaling} cannot be said in Meta's params.json; use to=hf")
    if parts.attention_bias or parts.feed_forward_bias:
        raise UserError(f"{where}: biases cannot be said in Meta's params.json; use to=hf")
    if parts.head_dim * parts.n_heads != parts.dim:
        raise UserError(f"{where}: head_dim {parts.head_dim} cannot be said in Meta's params.json; use to=hf")
    if not any(file.name == FILE_NAME for file in source.tokenizer_files):
        raise UserError(f"{source.home / FILE_NAME}: missing; Meta's format needs a SentencePiece tokenizer; use to=hf")
    for name in ("dim", "n_heads", "n_kv_heads", "width", "vocab_size"):
        if getattr(parts, name) % count:
            raise UserError(f"shards: {name} {getattr(parts, name)} is not divisible by {count}; give another number")


def _part(name: str, tensor: LazyTensor, index: int, count: int, dtype: torch.dtype | None) -> torch.Tensor:
    whole, dimension = tensor.read(), shard_dimension(name)
    part = whole if dimension is None or count == 1 else whole.chunk(count, dimension)[index].clone()
    return part.to(dtype or part.dtype)
