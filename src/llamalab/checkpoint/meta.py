"""Meta's checkpoint: consolidated.NN.pth, one per model-parallel rank, params.json, tokenizer.model.

Names and shard dimensions are those of Meta's code of LLaMA, Llama 2 and Llama 3 (fairscale's parallel layers).
"""

import contextlib
import functools
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llamalab.checkpoint.architecture import model_config
from llamalab.checkpoint.names import shard_dimension
from llamalab.checkpoint.source import Source
from llamalab.checkpoint.tensor_files import LazyTensor, read_tensors
from llamalab.checkpoint.text_tokenizer import TextTokenizer
from llamalab.checkpoint.tokenizer import FILE_NAME, load_tokenizer
from llamalab.common.configs import check_type, closest
from llamalab.common.errors import UserError
from llamalab.common.files import read_json

PARAMS = "params.json"
SHARD = re.compile(r"consolidated\.(\d+)\.pth")
MOST_SHARDS = 8
FREQUENCIES = "rope.freqs"  # a table that the first checkpoints carry; it follows from params.json
# Meta's own default; params.json has never said it.
CONTEXT = 2048
CONVERSION = "llamalab.json"  # what our writer leaves beside a checkpoint; it says the context
REQUIRED: dict[str, Any] = {"dim": int, "n_layers": int, "n_heads": int, "multiple_of": int, "norm_eps": float}
OPTIONAL: dict[str, Any] = {
    "vocab_size": int,
    "n_kv_heads": int | None,
    "ffn_dim_multiplier": float | None,
    "rope_theta": float | None,
}
INERT = {"max_batch_size"}
FIXED = {"use_scaled_rope": False}


def weight_files(path: Path) -> list[Path]:
    """The shards in a folder, in order."""
    return sorted(file for file in path.glob("consolidated.*.pth") if SHARD.fullmatch(file.name))


def feed_forward_width(dim: int, multiple_of: int, multiplier: float | None) -> int:
    """2/3 of 4 dim, times the multiplier of Llama 2 and 3 where there is one, rounded up (`FeedForward` there)."""
    width = int(2 * (4 * dim) / 3)
    if multiplier is not None:
        width = int(multiplier * width)
    return -(-width // multiple_of) * multiple_of


def open_checkpoint(path: Path) -> Source:
    """The checkpoint in a folder of Meta's.

    Raises:
        UserError: a key of params.json is not supported, a shard is missing or damaged, shards do not fit together.
    """
    params = _checked(read_json(path / PARAMS), path / PARAMS)
    files = _whole(weight_files(path), path)
    weights = _merged(files, path, params)
    if params["vocab_size"] == -1:
        params["vocab_size"] = _tokenizer(path).vocab_size
    model = model_config(
        "rope",
        {
            "scale.vocab_size": params["vocab_size"],
            "scale.dim": params["dim"],
            "scale.n_layers": params["n_layers"],
            "scale.n_heads": params["n_heads"],
            "scale.n_kv_heads": params.get("n_kv_heads"),
            "scale.multiple_of": params["multiple_of"],
            "scale.seq_len": _context(path),
            "scale.tied_embeddings": False,
            "norm.eps": params["norm_eps"],
            "feed_forward.width": feed_forward_width(
                params["dim"], params["multiple_of"], params.get("ffn_dim_multiplier")
            ),
            "position.theta": params["rope_theta"],
        },
    )
    return Source(
        path=path,
        format="meta",
        config={"model": model},
        weights=weights,
        weight_files=tuple(files),
        home=path,
        tokenizer_files=tuple(filter(Path.is_file, [_tokenizer_file(path)])),
        open_tokenizer=functools.partial(_tokenizer, path),
    )


def _checked(params: Any, file: Path) -> dict[str, Any]:
    if not isinstance(params, dict):
        raise UserError(f"{file}: is no mapping, so these are not the parameters of a LLaMA")
    values: dict[str, Any] = {"vocab_size": -1, "rope_theta": 10_000.0}
    known = {**REQUIRED, **OPTIONAL}
    for key, value in params.items():
        if key in FIXED:
            if value not in (None, FIXED[key]):
                raise UserError(
                    f"{file}: {key}: {value!r} is not supported, since the factor is not said; "
                    "use the model's Hugging Face folder, which says it"
                )
        elif key in known:
            value = float(value) if known[key] in (float, float | None) and type(value) is int else value
            check_type(f"{file}: {key}", value, known[key])
            if value is not None:
                values[key] = value
        elif key not in INERT and value is not None:
            raise UserError(f"{file}: {key}: {value!r} is not supported{closest(key, known)}")
    for key in REQUIRED:
        if key not in values:
            raise UserError(f"{file}: {key}: missing, so these are not the parameters of a LLaMA")
        if values[key] <= 0:
            raise UserError(f"{file}: {key}: {values[key]} is not a positive number")
    return values


def _context(path: Path) -> int:
    if (path / CONVERSION).is_file():
        record = read_json(path / CONVERSION)
        with contextlib.suppress(KeyError, TypeError, ValueError):
            return int(record["model"]["max_seq_len"])
        raise UserError(f"{path / CONVERSION}: has no model.max_seq_len; delete the file to take {CONTEXT}")
    return CONTEXT


def _whole(files: list[Path], path: Path) -> list[Path]:
    if not files:
        raise UserError(f"{path}: no weights; there should be consolidated.00.pth")
    if len(files) > MOST_SHARDS:
        raise UserError(f"{path}: has {len(files)} shards; up to {MOST_SHARDS} are supported")
    for index, file in enumerate(files):
        wanted = path / f"consolidated.{index:02d}.pth"
        if file != wanted:
            raise UserError(f"{wanted}: missing, but there is {file.name}; copy it there")
    return files


def _merged(files: list[Path], path: Path, params: dict[str, Any]) -> dict[str, LazyTensor]:
    shards = [read_tensors(file) for file in files]
    embeddings = shards[0].get("tok_embeddings.weight")
    if embeddings is not None and len(embeddings.shape) == 2:
        # each shard has its part of the width, so one of them tells how many there are
        count = params["dim"] / max(embeddings.shape[1], 1)
        if count > len(files) and count == int(count):
            missing = path / f"consolidated.{len(files):02d}.pth"
            raise UserError(f"{missing}: missing; the checkpoint has {int(count)} shards, here are {len(files)}")
    names = [name for name in shards[0] if name != FREQUENCIES]
    for file, shard in zip(files, shards, strict=True):
        for name in {*names} ^ {*shard} - {FREQUENCIES}:
            raise UserError(f"{file}: tensor '{name}' is in some shards and not in others; use another copy")
    return {name: _joined([shard[name] for shard in shards], name, path) for name in names}


def _joined(parts: list[LazyTensor], name: str, path: Path) -> LazyTensor:
    first, dimension = parts[0], shard_dimension(name)
    if dimension is None or len(parts) == 1:
        return first
    if len({(part.shape, part.dtype) for part in parts}) > 1 or len(first.shape) != 2:
        raise UserError(f"{path}: tensor '{name}' has another shape or type in each shard; use another copy")
    shape = list(first.shape)
    shape[dimension] *= len(parts)

    def read() -> Tensor:
        whole = torch.empty(shape, dtype=first.dtype)
        for place, part in zip(whole.chunk(len(parts), dimension), parts, strict=True):
            place.copy_(part.read())
        return whole

    return LazyTensor(first.label, tuple(shape), first.dtype, read)


def _tokenizer_file(path: Path) -> Path:
    """In the folder, or beside it, as in Meta's downloads, where all sizes share one."""
    own = path / FILE_NAME
    return own if own.is_file() else path.absolute().parent / FILE_NAME


def _tokenizer(path: Path) -> TextTokenizer:
    file = _tokenizer_file(path)
    if not file.is_file():
        raise UserError(f"{path / FILE_NAME}: missing, and not beside the folder either; copy the tokenizer there")
    return load_tokenizer(file)
