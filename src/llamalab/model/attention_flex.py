"""FlexAttention: one fused kernel for score biases and windows, which skips blocks of keys that nothing sees."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from llamalab.model.attention_kernel import AttentionMask


@functools.lru_cache(maxsize=32)
def block_mask(n_queries: int, n_keys: int, window: int | None, device: torch.device) -> BlockMask:
    """Which blocks of queries and keys have to be computed; the same for every layer and step of a shape."""
    start = n_keys - n_queries

    def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        distance = start + query - key
        return distance >= 0 if window is None else (distance >= 0) & (distance < window)

    return create_block_mask(sees, B=None, H=None, Q_LEN=n_queries, KV_LEN=n_keys, device=device)


@functools.cache
def compiled() -> Callable[..., Any]:
    """flex_attention as one fused kernel. Uncompiled it holds all scores, which is what it is there to avoid."""
    return torch.compile(flex_attention, dynamic=False)


@dataclasses.dataclass(frozen=True)
class FlexKernel:
    """torch's flex_attention: for biases and sliding windows on a GPU.

    On a CPU it computes the same, slowly and without a backward pass; it is there to be tested.
    """

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, mask: AttentionMask) -> Tensor:
        """Causal attention; shapes as in attention_kernel.

        Raises:
            ValueError: a gradient is wanted on a CPU.
        """
        if q.device.type == "cpu" and torch.is_grad_enabled() and q.requires_grad:
            raise ValueError("attention.kernel: flex has no backward pass on a CPU; use attention/kernel=auto")
        added = mask.added
        biased = added is not None and added.dim() == 3  # with two dimensions it is the mask and no more

        def add_bias(score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            assert added is not None
            return score + added[head, query, key]

        blocks = block_mask(q.shape[2], k.shape[2], mask.window, q.device)
        fused = q.device.type == "cuda" and not torch.compiler.is_compiling()
        attend = compiled() if fused else cast(Callable[..., Any], flex_attention)
        grouped = q.shape[1] != k.shape[1]
        return attend(q, k, v, score_mod=add_bias if biased else None, block_mask=blocks, enable_gqa=grouped)
