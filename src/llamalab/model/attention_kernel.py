"""How softmax(q kᵀ / sqrt(d) + bias) v is computed: the kernel choices of the attention axis.

A kernel is a callable (q, k, v, mask) with q B H T d; k, v B G S d (G key-value heads, G divides H); query t is at
position S - T + t. Returns B H T d. Kernels differ in speed and memory, never in the result beyond rounding.
"""

import dataclasses
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class AttentionMask:
    """Which keys each query sees, and what is added to its scores; made once per forward pass, shared by all blocks.

    Attributes:
        start: position of the first query, which is the number of keys before it.
        window: keys that a query sees, its own included; None where that is all up to its own.
        added: what is added to the scores in the precision of q, -inf where a key is not seen: H T S if the position
            encoding has a bias, T S if only the mask cannot be said in a word; None for plain causal attention.
    """

    start: int
    window: int | None = None
    added: Tensor | None = None


class AttentionKernel(Protocol):
    """What attention needs from a kernel."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, mask: AttentionMask) -> Tensor:
        """Causal attention; shapes as in the module's docstring."""


def visible(n_queries: int, n_keys: int, device: torch.device, window: int | None = None) -> Tensor:
    """T S, true where a query may see a key, when the last query sits on the last key."""
    mask = torch.ones(n_queries, n_keys, dtype=torch.bool, device=device).tril(n_keys - n_queries)
    return mask if window is None else mask.triu(n_keys - n_queries - window + 1)


def attention_mask(
    n_queries: int, n_keys: int, window: int | None, bias: Tensor | None, dtype: torch.dtype, device: torch.device
) -> AttentionMask:
    """The mask of one forward pass: T queries that end on the last of S keys.

    Args:
        n_queries: T.
        n_keys: S.
        window: keys that a query sees, its own included; None for all.
        bias: H T S in float32, from the position encoding, or None.
        dtype: of q.
        device: of q.
    """
    start = n_keys - n_queries
    if window is not None and window >= n_keys:
        window = None
    if bias is None and window is None and (start == 0 or n_queries == 1):
        return AttentionMask(start)
    if bias is None:
        bias = torch.zeros(n_queries, n_keys, device=device)
    hidden = ~visible(n_queries, n_keys, device, window)
    return AttentionMask(start, window, bias.masked_fill(hidden, float("-inf")).to(dtype))


@dataclasses.dataclass(frozen=True)
class ScaledDotProductKernel:
    """torch's scaled_dot_product_attention: flash attention where the device has it."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, mask: AttentionMask) -> Tensor:
        """Causal attention; shapes as in the module's docstring."""
        grouped = q.shape[1] != k.shape[1]
        causal = mask.added is None and mask.start == 0
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask.added, is_causal=causal, enable_gqa=grouped)
