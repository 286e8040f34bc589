"""Hugging Face's checkpoint: config.json, weights in one file or several, tokenizer files."""

import functools
import re
from pathlib import Path
from typing import Any

from llamalab.checkpoint.hugging_face_config import read_model_config
from llamalab.checkpoint.hugging_face_tokenizer import open_tokenizer, tokenizer_files
from llamalab.checkpoint.names import ROTATED, from_hugging_face, halves_to_pairs
from llamalab.checkpoint.source import Source
from llamalab.checkpoint.tensor_files import LazyTensor, read_tensors
from llamalab.common.errors import UserError
from llamalab.common.files import read_json

CONFIG = "config.json"
# In transformers' order of preference; an index names the files that tensors are in.
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
INDEX = ".index.json"
# Tables that old versions saved beside the weights; they follow from the config.
NOT_WEIGHTS = re.compile(r"(.*\.)?rotary_emb\.(inv_freq|cos_cached|sin_cached)")


def open_checkpoint(path: Path) -> Source:
    """The checkpoint in a folder with a config.json.

    Raises:
        UserError: a key of the config is not supported, files are missing or damaged, a tensor is not a LLaMA's.
    """
    content = read_json(path / CONFIG)
    if not isinstance(content, dict):
        raise UserError(f"{path / CONFIG}: is no mapping, so this is not a model's config")
    model = read_model_config(content, path / CONFIG)
    files, stored = _stored(path)
    head_dim = model["head_dim"] or model["dim"] // model["n_heads"]
    weights = {}
    for theirs, tensor in stored.items():
        if NOT_WEIGHTS.fullmatch(theirs):
            continue
        ours = from_hugging_face(theirs)
        if ours is None:
            raise UserError(f"{path}: tensor '{theirs}' is unknown to this architecture")
        if ours == "output.weight" and model["tied_embeddings"]:
            continue  # some tools write the embeddings a second time
        weights[ours] = _in_pairs(tensor, head_dim) if ROTATED.fullmatch(ours) else tensor
    return Source(
        path=path,
        format="hf",
        config={"model": model},
        weights=weights,
        weight_files=tuple(files),
        home=path,
        tokenizer_files=tuple(tokenizer_files(path)),
        open_tokenizer=functools.partial(open_tokenizer, path),
    )


def _in_pairs(tensor: LazyTensor, head_dim: int) -> LazyTensor:
    return LazyTensor(
        tensor.label, tensor.shape, tensor.dtype, lambda: halves_to_pairs(tensor.read(), head_dim).contiguous()
    )


def _stored(path: Path) -> tuple[list[Path], dict[str, LazyTensor]]:
    """The files and their tensors by their own names."""
    for name in WEIGHTS:
        if (path / name).is_file():
            return [path / name], read_tensors(path / name)
        if (path / (name + INDEX)).is_file():
            return _indexed(path, path / (name + INDEX))
    raise UserError(f"{path}: no weights; there should be {WEIGHTS[0]}, or {WEIGHTS[0]}{INDEX} and the files it names")


def _indexed(path: Path, index: Path) -> tuple[list[Path], dict[str, LazyTensor]]:
    content: Any = read_json(index)
    places = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(places, dict) or not all(isinstance(place, str) for place in places.values()):
        raise UserError(f"{index}: has no weight_map that says which file each tensor is in")
    tensors: dict[str, LazyTensor] = {}
    names = sorted(set(places.values()))
    for name in names:
        if Path(name).name != name:
            raise UserError(f"{index}: '{name}' lies outside of the checkpoint's folder; it is not read")
        if not (path / name).is_file():
            raise UserError(f"{path / name}: missing, but {index.name} says that weights are in it; copy it there")
        found = read_tensors(path / name)
        for key, tensor in found.items():
            if places.get(key) != name:
                raise UserError(f"{path / name}: tensor '{key}' is not in {index.name}; use another copy")
            tensors[key] = tensor
    for key, name in places.items():
        if key not in tensors:
            raise UserError(f"{path / name}: has no tensor '{key}', but {index.name} says so; use another copy")
    return [path / name for name in names], tensors
