"""Writes a checkpoint in Hugging Face's format: what transformers, vLLM and llama.cpp's converter read."""

import functools
import math
from pathlib import Path
from typing import Any

import torch

from llamalab.checkpoint.hugging_face import CONFIG, INDEX, WEIGHTS
from llamalab.checkpoint.hugging_face_config import SCALINGS
from llamalab.checkpoint.hugging_face_tokenizer import GENERATION
from llamalab.checkpoint.hugging_face_tokenizer_writer import write_tokenizer
from llamalab.checkpoint.llama_parts import LlamaParts, llama_parts
from llamalab.checkpoint.names import ROTATED, pairs_to_halves, to_hugging_face
from llamalab.checkpoint.safetensors_writer import write_safetensors
from llamalab.checkpoint.source import Source
from llamalab.checkpoint.tensor_files import LazyTensor
from llamalab.common.errors import UserError
from llamalab.common.files import write_json

# transformers' name of each of our position classes
ROPE_TYPES = {
    "InterpolatedRotaryPosition": "linear",
    "DynamicNTKRotaryPosition": "dynamic",
    "Llama3RotaryPosition": "llama3",
    "YarnRotaryPosition": "yarn",
}
LARGEST_FILE = 5 * 10**9  # bytes; the size at which transformers splits by default


def write(source: Source, folder: Path, dtype: torch.dtype | None, shards: int | None) -> None:
    """Writes everything into `folder`.

    Args:
        source: what to write.
        folder: an empty folder.
        dtype: converts the weights to it; None leaves each as it is.
        shards: files that the weights are spread over; None takes as many as keep each below 5 GB.

    Raises:
        UserError: the architecture is not Hugging Face's LLaMA, or there are fewer tensors than shards.
    """
    parts = llama_parts(source.model_config, source.path)
    saved = dtype or next(iter(source.weights.values())).dtype
    tokens = write_tokenizer(source, folder, parts.max_seq_len)
    write_json(folder / CONFIG, config_json(parts, saved, tokens))
    write_json(folder / GENERATION, {"_from_model_config": True, **tokens})
    tensors = {}
    for name, tensor in source.weights.items():
        tensors[to_hugging_face(name)] = _in_halves(tensor, parts.head_dim) if ROTATED.fullmatch(name) else tensor
    files = spread(tensors, shards, dtype)
    for name, content in files.items():
        write_safetensors(folder / name, content, dtype)
    if len(files) > 1:
        places = {key: name for name, content in files.items() for key in content}
        size = sum(tensor.bytes_as(dtype) for tensor in tensors.values())
        write_json(folder / (WEIGHTS[0] + INDEX), {"metadata": {"total_size": size}, "weight_map": places})


def config_json(parts: LlamaParts, dtype: torch.dtype, tokens: dict[str, int]) -> dict[str, Any]:
    """config.json, in the keys of transformers 4, which version 5, vLLM and llama.cpp read too."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": parts.vocab_size,
        "hidden_size": parts.dim,
        "intermediate_size": parts.width,
        "num_hidden_layers": parts.n_layers,
        "num_attention_heads": parts.n_heads,
        "num_key_value_heads": parts.n_kv_heads,
        "head_dim": parts.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": parts.max_seq_len,
        "rms_norm_eps": parts.norm_eps,
        "rope_theta": parts.theta,
        "rope_scaling": rope_scaling(parts),
        "attention_bias": parts.attention_bias,
        "mlp_bias": parts.feed_forward_bias,
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
        "tie_word_embeddings": parts.tied_embeddings,
        "use_cache": True,
        "torch_dtype": str(dtype).removeprefix("torch."),
        **tokens,
    }


def rope_scaling(parts: LlamaParts) -> dict[str, Any] | None:
    """transformers' `rope_scaling`; None for plain RoPE."""
    if parts.scaling not in ROPE_TYPES:
        return None
    kind = ROPE_TYPES[parts.scaling]
    found: dict[str, Any] = {"rope_type": kind}
    for theirs, ours in SCALINGS[kind].keys.items():
        value = parts.scaling_settings[ours]
        if ours == "original_seq_len" and value is None:
            value = parts.max_seq_len
        if value is not None:
            found[theirs] = value
    return found


def spread(
    tensors: dict[str, LazyTensor], shards: int | None, dtype: torch.dtype | None
) -> dict[str, dict[str, LazyTensor]]:
    """The tensors by file, in order, files about equally large."""
    sizes = {name: tensor.bytes_as(dtype) for name, tensor in tensors.items()}
    total = sum(sizes.values())
    count = shards or max(1, math.ceil(total / LARGEST_FILE))
    if count > len(tensors):
        raise UserError(f"shards: {count} is more than the checkpoint's {len(tensors)} tensors; give fewer")
    if count == 1:
        return {WEIGHTS[0]: tensors}
    groups: list[dict[str, LazyTensor]] = [{} for _ in range(count)]
    before, index = 0, 0
    for place, (name, tensor) in enumerate(tensors.items()):
        full = before >= (index + 1) * total / count
        needed = len(tensors) - place == count - 1 - index  # so that each later file gets one at least
        if groups[index] and index + 1 < count and (full or needed):
            index += 1
        groups[index][name] = tensor
        before += sizes[name]
    stem, suffix = WEIGHTS[0].split(".")
    return {f"{stem}-{i + 1:05d}-of-{count:05d}.{suffix}": group for i, group in enumerate(groups)}


def _in_halves(tensor: LazyTensor, head_dim: int) -> LazyTensor:
    read = functools.partial(_read_in_halves, tensor, head_dim)
    return LazyTensor(tensor.label, tensor.shape, tensor.dtype, read)


def _read_in_halves(tensor: LazyTensor, head_dim: int) -> torch.Tensor:
    return pairs_to_halves(tensor.read(), head_dim)
