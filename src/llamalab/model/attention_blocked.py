"""Causal attention in blocks of queries, by batched matrix products that keep their softmax blocks.

torch's flash attention for CPUs works in tiles too small for a CPU's bfloat16 units, and its backward pass computes
the scores again: in bfloat16 it is slower than in float32. At the sequence lengths that a CPU trains, keeping the
softmax is cheaper: 16 sequences of 256 tokens with 8 heads of 32 channels take 24 ms a layer here, forward and
backward on one core, instead of 77.
"""

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor

from llamalab.model.attention_kernel import AttentionKernel, AttentionMask, ScaledDotProductKernel, visible


@dataclasses.dataclass(frozen=True)
class BlockedKernel:
    """Attention over `blocks` blocks of queries, each over the keys that its last query sees.

    Scores are rounded to the precision of q, as in any attention by matrix products; the softmax is taken in float32.
    Cached decoding is left to torch's kernel, and so are sequences longer than `longest`, since the kept blocks take
    B H T² / 2 numbers per layer.

    Args:
        blocks: more blocks compute fewer masked scores, (1 + 1 / blocks) / 2 of all, in smaller products.
        longest: longest sequence to handle.
    """

    blocks: int
    longest: int

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, mask: AttentionMask) -> Tensor:
        """Causal attention; shapes as in attention_kernel."""
        if mask.start > 0 or q.shape[2] > self.longest:
            return ScaledDotProductKernel()(q, k, v, mask)
        shared = q.shape[1] // k.shape[1]
        if shared > 1:
            k, v = (tensor.repeat_interleave(shared, dim=1) for tensor in (k, v))  # B H T d
        flat = [tensor.flatten(0, 1) for tensor in (q, k, v)]  # BH T d
        added = mask.added
        if added is not None:
            added = added.view(-1, *added.shape[-2:])  # H T T, or 1 T T for all heads
        with torch.autocast(q.device.type, enabled=False):
            return BlockedAttention.apply(*flat, added, math.ceil(q.shape[2] / self.blocks)).view_as(q)


@dataclasses.dataclass(frozen=True)
class ByHardwareKernel:
    """One kernel for bfloat16 on a CPU, another for everything else; decided in each call, as tensors may move."""

    bf16_on_cpu: AttentionKernel
    otherwise: AttentionKernel

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, mask: AttentionMask) -> Tensor:
        """Causal attention; shapes as in attention_kernel."""
        fits = q.device.type == "cpu" and q.dtype == torch.bfloat16
        return (self.bf16_on_cpu if fits else self.otherwise)(q, k, v, mask)


class BlockedAttention(torch.autograd.Function):
    """softmax(q kᵀ / sqrt(d) + added) v for q, k, v of shape N T d (N: sequences times heads), `size` queries a block.

    `added` is G T T for N a multiple of G, sequence n taking row n mod G, with -inf where a key is not seen; None for
    the causal mask alone.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, added: Tensor | None, size: int) -> Tensor:
        """The weighted values, N T d."""
        scale = q.shape[-1] ** -0.5
        probabilities, outputs = [], []
        for first in range(0, q.shape[1], size):
            queries = q[:, first : first + size]
            end = first + queries.shape[1]
            if added is None:
                mask = torch.zeros(queries.shape[1], end, dtype=q.dtype, device=q.device)
                mask = mask.masked_fill(~visible(queries.shape[1], end, q.device), float("-inf"))
                scores = torch.baddbmm(mask, queries, k[:, :end].mT, alpha=scale)  # N size end
            else:
                rows = added[:, first:end, :end]
                scores = q.new_empty(q.shape[0] // rows.shape[0], *rows.shape).copy_(rows).flatten(0, 1)
                scores.baddbmm_(queries, k[:, :end].mT, alpha=scale)  # N size end
            probabilities.append(scores.softmax(-1))
            outputs.append(probabilities[-1] @ v[:, :end])
        ctx.size = size
        ctx.groups = None if added is None else added.shape[0]
        ctx.save_for_backward(q, k, v, *probabilities)
        return torch.cat(outputs, dim=1)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None, None]:
        """Gradients of q, k, v and added."""
        q, k, v, *probabilities = ctx.saved_tensors
        size, scale = ctx.size, q.shape[-1] ** -0.5
        nothing = q.new_zeros(1, 1, 1)
        of_q, of_k, of_v, of_added = [], [], [], []
        for block, p in enumerate(probabilities):
            rows = slice(block * size, block * size + p.shape[1])
            end = p.shape[2]
            slope = torch.baddbmm(nothing, upstream[:, rows], v[:, :end].mT, alpha=scale, beta=0)  # N size end
            slope = torch._softmax_backward_data(slope, p, -1, p.dtype)
            of_q.append(slope @ k[:, :end])
            of_k.append(slope.mT @ q[:, rows])  # N end d
            of_v.append(p.mT @ upstream[:, rows])
            if ctx.needs_input_grad[3]:
                wide = torch.promote_types(p.dtype, torch.float32)
                total = slope.unflatten(0, (-1, ctx.groups)).sum(0, dtype=wide) / scale  # G size end
                of_added.append(torch.nn.functional.pad(total, (0, q.shape[1] - end)).to(p.dtype))
        added = torch.cat(of_added, dim=1) if of_added else None
        return torch.cat(of_q, dim=1), _sum_over_blocks(of_k, size), _sum_over_blocks(of_v, size), added, None


def _sum_over_blocks(parts: list[Tensor], size: int) -> Tensor:
    """Adds gradients of keys that come from blocks of queries, each for all keys up to its own: N T d.

    Summed in float32, so that many blocks round no more than one.
    """
    sums = []
    for block, part in enumerate(parts):
        places = slice(block * size, part.shape[1])
        total = part[:, places].to(torch.promote_types(part.dtype, torch.float32))
        for later in parts[block + 1 :]:
            total = total + later[:, places]
        sums.append(total.to(part.dtype))
    return torch.cat(sums, dim=1)
