"""What is evaluated: a checkpoint with its tokenizer and its facts, checked before anything expensive."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from llamalab.checkpoint.dtypes import dtype_of
from llamalab.checkpoint.formats import open_checkpoint
from llamalab.checkpoint.source import Source
from llamalab.checkpoint.text_tokenizer import TextTokenizer
from llamalab.common.errors import UserError
from llamalab.common.files import hash_of
from llamalab.model.llama import Llama

__all__ = ["Subject", "device_of", "dtype_of", "find"]

# Tables are often padded to a round number of rows; a tokenizer that leaves more of them unused is another model's.
MOST_UNUSED = 0.1


@dataclass(frozen=True)
class Subject:
    """A checkpoint found and checked, its weights not yet read.

    Attributes:
        source: the checkpoint, of whatever format.
        tokenizer: its tokenizer.
    """

    source: Source
    tokenizer: TextTokenizer

    @property
    def run_dir(self) -> Path:
        """Where scores go by default: the run directory, or the checkpoint's folder."""
        return self.source.home

    @property
    def checkpoint(self) -> Path:
        """The folder that the weights are in."""
        return self.source.path

    @property
    def config(self) -> dict[str, Any]:
        """A run's resolved config; of a checkpoint that others made there is only `model`."""
        return self.source.config

    @property
    def meta(self) -> dict[str, Any]:
        """What is known of the training (`step`, `tokens`), and `weights_sha256`."""
        return {**self.source.meta, "weights_sha256": self.source.weights_sha256}

    @property
    def fingerprint(self) -> str:
        """Changes with anything of the checkpoint that can change a score: weights, architecture, tokenizer."""
        return hash_of([self.source.weights_sha256, self.source.model_config, self.tokenizer.sha256])

    def load(self, device: torch.device, dtype: torch.dtype) -> Llama:
        """The model in evaluation mode. Raises UserError naming the first tensor that does not fit."""
        return self.source.load(device, dtype)


def find(path: str | Path) -> Subject:
    """The checkpoint in a folder: a run directory or one of its steps, Hugging Face's format, or Meta's.

    Raises:
        UserError: nothing there, an unsupported architecture, no tokenizer, or a tokenizer of another vocabulary.
    """
    source = open_checkpoint(path)
    tokenizer = source.tokenizer
    rows, tokens = source.model_config["vocab_size"], tokenizer.vocab_size
    trained_here = "data" in source.config
    if tokens > rows or (tokens < rows and (trained_here or tokens < (1 - MOST_UNUSED) * rows)):
        file = source.tokenizer_files[0]
        raise UserError(
            f"{file}: has {tokens} tokens but the model has vocab_size={rows}; "
            "copy the tokenizer that the model was trained with there"
        )
    if tokens < rows:
        warnings.warn(
            f"{source.path}: {rows - tokens} rows of the embeddings have no token; taken as padding", stacklevel=2
        )
    return Subject(source, tokenizer)


def device_of(name: str) -> torch.device:
    """The device of that name; `auto` is a GPU if there is one. Raises UserError for one that cannot be used."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"accelerator: '{name}' cannot be used here ({str(error).splitlines()[0]}); try auto") from None
    return device
