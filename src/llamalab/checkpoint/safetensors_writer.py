"""A safetensors file written one tensor at a time; safetensors' own writer wants all of them in memory."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch

from llamalab.checkpoint.tensor_files import DTYPES, LazyTensor

TYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def write_safetensors(path: Path, tensors: Mapping[str, LazyTensor], dtype: torch.dtype | None) -> None:
    """Writes the tensors under their keys, converted to `dtype` if it is given.

    The metadata say `"format": "pt"`, which transformers asks for.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in tensors.items():
        kind = dtype or tensor.dtype
        size = tensor.bytes_as(kind)
        header[name] = {"dtype": TYPE_NAMES[kind], "shape": list(tensor.shape), "data_offsets": [end, end + size]}
        end += size
    content = json.dumps(header, separators=(",", ":")).encode()
    content += b" " * (-len(content) % 8)  # so that tensors are aligned
    with path.open("wb") as file:
        file.write(len(content).to_bytes(8, "little"))
        file.write(content)
        for tensor in tensors.values():
            elements = tensor.read().to(dtype or tensor.dtype).contiguous().flatten()
            elements.view(torch.uint8).numpy().tofile(file)
