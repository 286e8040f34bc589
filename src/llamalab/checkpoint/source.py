"""A checkpoint of any format, found and checked, its weights not yet read: what evaluation and conversion work with."""

import functools
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llamalab.checkpoint.architecture import empty_model
from llamalab.checkpoint.tensor_files import LazyTensor
from llamalab.checkpoint.text_tokenizer import TextTokenizer
from llamalab.common.errors import UserError
from llamalab.common.files import hash_of, sha256_file
from llamalab.model.llama import Llama


@dataclass(frozen=True)
class Source:
    """One checkpoint.

    Attributes:
        path: the folder that its weights lie in.
        format: native, hf or meta, as in `llamalab convert to=`.
        config: plain containers; `model` is the section that the model is built from. For a native run it is the
            whole config.yaml, for others there is only `model`.
        weights: by our names, in the layout of our model; read one at a time.
        weight_files: the files that they are in.
        meta: facts about the training: `step`, `tokens`, ... where they are known.
        home: where what belongs to the checkpoint is kept: its run directory, or its folder.
        tokenizer_files: the files of its tokenizer.
        open_tokenizer: reads it. Raises UserError if there is none.
        recorded_sha256: of the weights, where it was written down when they were.
    """

    path: Path
    format: str
    config: dict[str, Any]
    weights: Mapping[str, LazyTensor]
    weight_files: tuple[Path, ...]
    home: Path
    tokenizer_files: tuple[Path, ...]
    open_tokenizer: Callable[[], TextTokenizer]
    meta: dict[str, Any] = field(default_factory=dict)
    recorded_sha256: str | None = None

    @property
    def model_config(self) -> dict[str, Any]:
        """The section that the model is built from."""
        section: dict[str, Any] = self.config["model"]
        return section

    @functools.cached_property
    def weights_sha256(self) -> str:
        """Changes with any byte of the weight files. Reads them unless it was recorded with them."""
        if self.recorded_sha256 is not None:
            return self.recorded_sha256
        with ThreadPoolExecutor() as pool:
            return hash_of(list(pool.map(sha256_file, self.weight_files)))

    @functools.cached_property
    def tokenizer(self) -> TextTokenizer:
        """The tokenizer. Raises UserError if there is none, or it cannot be read."""
        return self.open_tokenizer()

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Our name and the tensor, one in memory at a time."""
        for name, tensor in self.weights.items():
            yield name, tensor.read()

    def check(self) -> Llama:
        """Holds names and shapes of the weights against the architecture.

        Returns:
            The model on the meta device.

        Raises:
            UserError: naming the first tensor that differs.
        """
        model = empty_model(self.model_config, self.path)
        expected = model.state_dict()
        for name, tensor in expected.items():
            if name not in self.weights:
                raise UserError(
                    f"{self.path}: has no tensor '{name}', which this architecture needs; check the model config"
                )
            if self.weights[name].shape != tuple(tensor.shape):
                raise UserError(
                    f"{self.path}: tensor '{self.weights[name].label}' has shape {self.weights[name].shape} but this "
                    f"architecture needs {tuple(tensor.shape)}; it is a checkpoint of another architecture"
                )
        for name, found in self.weights.items():
            if name not in expected:
                raise UserError(f"{self.path}: tensor '{found.label}' is unknown to this architecture")
        return model

    def load(self, device: str | torch.device, dtype: torch.dtype) -> Llama:
        """The model in evaluation mode, its weights converted to `dtype` one by one.

        Raises:
            UserError: weights and architecture do not fit, or a file is damaged.
        """
        model = self.check().to(dtype)
        assert not list(model.buffers()), "a buffer would stay uninitialised"
        model.to_empty(device=device)
        with torch.no_grad():
            parameters = dict(model.named_parameters())
            for name, tensor in self.tensors():
                parameters[name].copy_(tensor)
        return model.eval()
