"""Tiny checkpoints in Hugging Face's and Meta's formats, made by transformers and by torch.save."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from llamalab.checkpoint.convert import convert
from llamalab.checkpoint.formats import open_checkpoint

VOCABULARY = 512  # of the tiny corpus' tokenizer
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    # wide enough that a wrong channel order or scaling moves logits by far more than rounding does
    "initializer_range": 0.15,
}
BASIC_TOKENIZER = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": False, "legacy": True}


def transformers_model(seed: int = 0, **config: Any) -> LlamaForCausalLM:
    """A seeded random model; biases and norms are random too, as they are all zero and one at first."""
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(**{**SIZES, **config}, attn_implementation="eager")).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias") or "norm" in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def hugging_face_folder(folder: Path, tokenizer: Path, seed: int = 0, **config: Any) -> LlamaForCausalLM:
    """A Hugging Face folder as transformers leaves it, with a SentencePiece tokenizer."""
    model = transformers_model(seed, **config)
    model.save_pretrained(folder)
    shutil.copyfile(tokenizer, folder / "tokenizer.model")
    (folder / "tokenizer_config.json").write_text(json.dumps(BASIC_TOKENIZER))
    return model


def edit_json(path: Path, **values: Any) -> None:
    """Sets keys of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def meta_folder(folder: Path, tokenizer: Path, dtype: torch.dtype = torch.float16, **params: Any) -> None:
    """A folder as Meta released LLaMA-7B: one shard in fp16, rope.freqs in it, vocab_size -1."""
    hugging_face = folder.parent / f"{folder.name}_before"
    hugging_face_folder(hugging_face, tokenizer, **{"intermediate_size": 96, **params.pop("config", {})})
    source = open_checkpoint(hugging_face)
    weights = {name: tensor.to(dtype) for name, tensor in source.tensors()}
    folder.mkdir()
    weights["rope.freqs"] = torch.arange(4).to(dtype)
    torch.save(weights, folder / "consolidated.00.pth")
    facts = {"dim": 32, "multiple_of": 32, "n_heads": 4, "n_layers": 2, "norm_eps": 1e-6, "vocab_size": -1}
    (folder / "params.json").write_text(json.dumps({**facts, **params}))
    shutil.copyfile(tokenizer, folder / "tokenizer.model")
    shutil.rmtree(hugging_face)


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint by our names."""
    return dict(open_checkpoint(folder).tensors())


def converted(source: Path, to: str, out: Path, **options: Any) -> Path:
    """`convert`, returning where it wrote."""
    convert(source, to, out, **options)
    return out
