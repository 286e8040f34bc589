"""Files of tensors, read one tensor at a time into memory of its own.

Plain reads and no memory map: what a mapped file has read stays in the process's memory until the system wants it
back, which would make "one tensor at a time" neither true nor measurable.
"""

import json
import math
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from llamalab.common.errors import UserError

# safetensors' names of the types that weights come in
DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
LONGEST_HEADER = 100 * 2**20  # safetensors' own limit, in bytes


@dataclass(frozen=True)
class LazyTensor:
    """A tensor that is not read yet.

    Attributes:
        label: what messages call it: its name in the file.
        shape: of the tensor.
        dtype: of the tensor.
        read: reads it; each call anew.
    """

    label: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor]

    def bytes_as(self, dtype: torch.dtype | None) -> int:
        """Its size in bytes when converted to `dtype`; None leaves it as it is."""
        return math.prod(self.shape) * (dtype or self.dtype).itemsize


def read_tensors(path: Path) -> dict[str, LazyTensor]:
    """The tensors of a `.safetensors` file, or of one that torch.save wrote (`.bin`, `.pth`), by name.

    Only headers are read, and no code in the file is run.

    Raises:
        UserError: missing, cut short, damaged, or not tensors alone.
    """
    try:
        return _safetensors(path) if path.suffix == ".safetensors" else _torch(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; the checkpoint is not complete") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None


def _safetensors(path: Path) -> dict[str, LazyTensor]:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(size - 8, LONGEST_HEADER):
            raise UserError(f"{path}: cannot be read (no safetensors header); use another copy")
        try:
            header = json.loads(file.read(length))
            entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
            end = 8 + length + max((entry["data_offsets"][1] for entry in entries.values()), default=0)
            found = {name: _safetensor(path, name, entry, 8 + length) for name, entry in entries.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{path}: cannot be read (damaged safetensors header); use another copy") from None
    if size != end:
        what = "is cut short" if size < end else "is longer than it says"
        raise UserError(f"{path}: {what}: {size:,} bytes of {end:,}; copy it again")
    return found


def _safetensor(path: Path, name: str, entry: dict[str, Any], base: int) -> LazyTensor:
    if entry["dtype"] not in DTYPES:
        raise UserError(f"{path}: tensor '{name}' is of type {entry['dtype']}; only {', '.join(DTYPES)} are weights")
    dtype, shape = DTYPES[entry["dtype"]], tuple(int(size) for size in entry["shape"])
    first, end = entry["data_offsets"]
    if end - first != math.prod(shape) * dtype.itemsize or first < 0:
        raise UserError(f"{path}: cannot be read (tensor '{name}' has another size than its shape); use another copy")
    return LazyTensor(
        name, shape, dtype, lambda: read_elements(path, base + first, math.prod(shape), dtype).view(shape)
    )


def _torch(path: Path) -> dict[str, LazyTensor]:
    try:
        # Fake tensors know where in the file their elements are, and hold none (torch's "layout control").
        with path.open("rb") as file, FakeTensorMode():
            saved = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UserError(f"{path}: holds more than tensors, perhaps code; it is not loaded") from None
    except FileNotFoundError:
        raise
    except (RuntimeError, EOFError, ValueError, KeyError, AttributeError, OSError):
        raise UserError(f"{path}: cannot be read (cut short or damaged); copy it again") from None
    if not isinstance(saved, dict) or not all(isinstance(tensor, Tensor) for tensor in saved.values()):
        raise UserError(f"{path}: is no mapping of names to tensors, so it is not a checkpoint's weights")
    return {str(name): _torch_tensor(path, str(name), tensor) for name, tensor in saved.items()}


def _torch_tensor(path: Path, name: str, fake: Tensor) -> LazyTensor:
    storage = fake.untyped_storage()
    offset, shape, dtype = storage._checkpoint_offset, tuple(fake.shape), fake.dtype
    if offset is None:
        raise UserError(f"{path}: is in torch's format from before 1.6; load it and save it again with a newer torch")
    if dtype not in DTYPES.values():
        raise UserError(f"{path}: tensor '{name}' is of type {dtype}; only floating-point tensors are weights")
    start, stride = int(fake.storage_offset()), fake.stride()
    count = 0 if 0 in shape else 1 + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))

    def read() -> Tensor:
        elements = read_elements(path, offset + start * dtype.itemsize, count, dtype)
        return elements.as_strided(shape, stride).contiguous()

    return LazyTensor(name, shape, dtype, read)


def read_elements(path: Path, offset: int, count: int, dtype: torch.dtype) -> Tensor:
    """`count` numbers from byte `offset` on. Raises UserError if the file ends before."""
    content = np.fromfile(path, dtype=np.uint8, count=count * dtype.itemsize, offset=offset)
    if content.nbytes != count * dtype.itemsize:
        raise UserError(f"{path}: is cut short: ends {os.path.getsize(path):,} bytes in; copy it again")
    return torch.from_numpy(content).view(dtype)
