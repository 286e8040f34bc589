"""What is evaluated: a checkpoint with its tokenizer and its facts, checked before anything expensive."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from llamalab.checkpoint import native
from llamalab.checkpoint.tokenizer import FILE_NAME, Tokenizer, load_tokenizer
from llamalab.common.configs import closest
from llamalab.common.errors import UserError
from llamalab.common.files import hash_of, read_json
from llamalab.model.llama import Llama

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Subject:
    """A checkpoint found and checked, its weights not yet read.

    Attributes:
        run_dir: the run directory it belongs to.
        checkpoint: its `step=NNNNNNNN` folder.
        config: the run's resolved config.
        tokenizer: the run's tokenizer.
        meta: the checkpoint's meta.json.
    """

    run_dir: Path
    checkpoint: Path
    config: dict[str, Any]
    tokenizer: Tokenizer
    meta: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        """Changes with anything of the checkpoint that can change a score: weights, architecture, tokenizer."""
        return hash_of([self.meta["weights_sha256"], self.config["model"], self.tokenizer.sha256])

    def load(self, device: torch.device, dtype: torch.dtype) -> Llama:
        """The model in evaluation mode. Raises UserError naming the first tensor that does not fit."""
        model, _ = native.load_model(self.checkpoint, device=device, dtype=dtype)
        assert isinstance(model, Llama)
        return model


def find(path: str | Path) -> Subject:
    """The newest checkpoint of a run directory, or the given checkpoint folder.

    Raises:
        UserError: nothing there, no tokenizer, or a tokenizer of another vocabulary.
    """
    run_dir, checkpoint = native.locate(Path(path))
    config = native.read_config(run_dir)
    if not (run_dir / FILE_NAME).is_file():
        raise UserError(f"{run_dir / FILE_NAME}: missing; copy the tokenizer that the run was trained with there")
    tokenizer = load_tokenizer(run_dir / FILE_NAME)
    vocab_size = config["model"].get("vocab_size")
    if tokenizer.vocab_size != vocab_size:
        raise UserError(
            f"{run_dir / FILE_NAME}: has {tokenizer.vocab_size} tokens but the model has vocab_size={vocab_size}; "
            "copy the tokenizer that the run was trained with there"
        )
    return Subject(run_dir, checkpoint, config, tokenizer, read_json(checkpoint / native.META))


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


def dtype_of(name: str) -> torch.dtype:
    """The floating-point type of that name. Raises UserError for an unknown one."""
    if name not in DTYPES:
        raise UserError(f"dtype: '{name}' is unknown{closest(name, DTYPES)}")
    return DTYPES[name]
