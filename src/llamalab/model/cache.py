"""Keys and values of the tokens already seen, so that decoding computes only the new ones."""

from typing import Protocol

import torch
from torch import Tensor

from llamalab.model.attention_kernel import AttentionKernel, AttentionMask


class LayerMemory(Protocol):
    """What one attention layer needs from whatever holds the keys and values of earlier tokens."""

    def attend(self, kernel: AttentionKernel, q: Tensor, k: Tensor, v: Tensor, mask: AttentionMask) -> Tensor:
        """Attention of the new queries to what is remembered and to their own keys; shapes as in attention_kernel."""


class LayerCache:
    """Keys and values of one attention layer, B G S_max d each."""

    def __init__(self, shape: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device) -> None:
        self.keys = torch.empty(shape, dtype=dtype, device=device)
        self.values = torch.empty(shape, dtype=dtype, device=device)

    def append(self, k: Tensor, v: Tensor, start: int) -> tuple[Tensor, Tensor]:
        """Stores k, v (B G T d) behind the first `start` tokens; returns all keys and values so far."""
        end = start + k.shape[2]
        self.keys[:, :, start:end] = k
        self.values[:, :, start:end] = v
        return self.keys[:, :, :end], self.values[:, :, :end]

    def attend(self, kernel: AttentionKernel, q: Tensor, k: Tensor, v: Tensor, mask: AttentionMask) -> Tensor:
        """Stores k and v, then attends to all keys so far."""
        return kernel(q, *self.append(k, v, mask.start), mask)


class KeyValueCache:
    """One LayerCache per block and the number of tokens that they hold. Made by `Llama.new_cache`."""

    def __init__(self, layers: list[LayerCache], max_len: int) -> None:
        self.layers = layers
        self.max_len = max_len
        self.length = 0

    def reserve(self, count: int) -> int:
        """Makes room for `count` more tokens; returns how many were there before.

        Raises:
            ValueError: the cache is full.
        """
        start = self.length
        if start + count > self.max_len:
            raise ValueError(f"max_len: the cache holds {self.max_len} tokens, but {start + count} were asked of it")
        self.length = start + count
        return start
