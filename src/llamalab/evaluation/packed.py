"""Forward passes over rows of tokens behind one computed beginning.

All tokens of a pass are one sequence for the model, with the positions that they have in their own sequences; only
attention knows the rows. It has two parts, to the row's own keys and to those of the beginning, which all rows share
without copies of it; the parts are joined by their log-sum-exps, as between the blocks of flash attention (Dao et al.
2022, section 3.1; Juravsky et al. 2024, "Hydragen", for shared beginnings).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from llamalab.evaluation.prefix_tree import Tokens
from llamalab.model.attention_kernel import AttentionKernel, AttentionMask
from llamalab.model.llama import Llama

# Added to the score of a key that is not seen. Finite, so that a part of attention in which a query sees nothing has a
# log-sum-exp that can be compared, and its weight becomes 0.
UNSEEN = -1e30

KeysAndValues = tuple[Tensor, Tensor]  # each R G S d


@dataclass(frozen=True)
class Beginning:
    """What is kept of tokens that several rows begin with: per layer keys and values, 1 G P d each.

    Attributes:
        length: P.
        layers: one pair per block.
    """

    length: int
    layers: Sequence[KeysAndValues]


NOTHING = Beginning(0, ())


@dataclass(frozen=True)
class Rows:
    """What one pass is about: R rows of new tokens, N in all.

    Only attention to a row's own keys pads the rows, to T tokens.

    Attributes:
        count: R.
        tokens: N, int64, row after row.
        depth: N, each token's position in its own sequence.
        padding: None if all rows have T tokens.
        own_mask: what is added to the scores of the row's own S keys in float32, R 1 T S or R H T S; None for causal.
        beginning_mask: the same for the P keys of the beginning, 1 1 N P or 1 H N P; None where all are seen.
    """

    count: int
    tokens: Tensor
    depth: Tensor
    padding: "Padding | None"
    own_mask: Tensor | None
    beginning_mask: Tensor | None

    def split(self, x: Tensor) -> Tensor:
        """1 H N d to R H T d; padding is filled with some token's values."""
        flat = x.transpose(1, 2).squeeze(0)  # N H d
        if self.padding is not None:
            flat = flat[self.padding.source]
        return flat.unflatten(0, (self.count, -1)).transpose(1, 2)

    def join(self, x: Tensor) -> Tensor:
        """R H T d to 1 H N d, without the padding."""
        flat = x.transpose(1, 2).flatten(0, 1)  # RT H d
        if self.padding is not None:
            flat = flat[self.padding.target]
        return flat[None].transpose(1, 2)


@dataclass(frozen=True)
class Padding:
    """Between rows of unequal length behind each other and padded ones.

    Attributes:
        source: for each place of the padded rows, RT, which of the N tokens is there.
        target: the place of each of the N tokens in the padded rows.
    """

    source: Tensor
    target: Tensor


class RowLayer:
    """One layer's attention in such a pass (a `LayerMemory`).

    Args:
        rows: the pass.
        beginning: this layer's keys and values of the beginning, 1 G P d; None if it is empty.
        keep: whether `kept` is to hold the rows' own keys and values afterwards, R G T d.
    """

    def __init__(self, rows: Rows, beginning: KeysAndValues | None, keep: bool) -> None:
        self.rows = rows
        self.beginning = beginning
        self.keep = keep
        self.kept: KeysAndValues | None = None

    def own(self, k: Tensor, v: Tensor) -> KeysAndValues:
        """The own keys and values that the rows' queries meet, R G S d, given the new ones, R G T d."""
        if self.keep:
            self.kept = k, v
        return k, v

    def attend(self, kernel: AttentionKernel, q: Tensor, k: Tensor, v: Tensor, mask: AttentionMask) -> Tensor:
        """q 1 H N d, k and v 1 G N d, to 1 H N d."""
        join, added = self.rows.join, self.rows.own_mask
        own = self.own(self.rows.split(k), self.rows.split(v))
        rows = self.rows.split(q)
        if self.beginning is None and q.device.type != "cpu":
            added = None if added is None else added.to(q.dtype)
            grouped = q.shape[1] != k.shape[1]
            return join(F.scaled_dot_product_attention(rows, *own, added, is_causal=added is None, enable_gqa=grouped))
        weighted, total = attention(rows, *own, added, causal=added is None)
        weighted = join(weighted)
        if self.beginning is not None:
            before, total_before = attention(q, *self.beginning, self.rows.beginning_mask, causal=False)
            share = torch.sigmoid(join(total[..., None]) - total_before[..., None])  # 1 H N 1
            weighted = torch.lerp(before.float(), weighted.float(), share).to(q.dtype)
        return weighted


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool) -> tuple[Tensor, Tensor]:
    """softmax(q kᵀ / sqrt(d) + mask) v, B H T d, and the logarithm of the softmax's denominator, B H T in float32.

    Args:
        q: B H T d.
        k, v: B G S d, where G divides H.
        mask: float32, B or 1, H or 1, T, S; or None.
        causal: whether query t sees the first t + 1 keys only; not together with a mask.
    """
    heads, groups, queries = q.shape[1], k.shape[1], q.shape[2]
    shared = heads // groups
    if shared > 1:
        # heads that share keys become more queries of one head, so that keys need no copies
        if causal:
            mask, causal = causal_mask(queries, q.device), False
        if mask is not None:
            mask = mask.expand(-1, heads, -1, -1).unflatten(1, (groups, shared)).flatten(2, 3)
        q = q.unflatten(1, (groups, shared)).flatten(2, 3)  # B G (H/G T) d
    weighted, total = (flash_on_cpu if q.device.type == "cpu" else in_steps)(q, k, v, mask, causal)
    if shared > 1:
        weighted = weighted.unflatten(2, (shared, queries)).flatten(1, 2)
        total = total.unflatten(2, (shared, queries)).flatten(1, 2)
    return weighted, total


def flash_on_cpu(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool) -> tuple[Tensor, Tensor]:
    """`attention` by torch's kernel for CPUs, which tells the denominator; G equals H here."""
    found = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, is_causal=causal, attn_mask=mask)
    weighted, total = found
    return weighted, total


def in_steps(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool) -> tuple[Tensor, Tensor]:
    """`attention` by matrix products, on any device; G equals H here."""
    added = causal_mask(q.shape[2], q.device) if causal else mask
    scores = (q @ k.mT).float() * q.shape[-1] ** -0.5
    scores = scores if added is None else scores + added
    total = scores.logsumexp(-1)
    return (scores - total[..., None]).exp().to(v.dtype) @ v, total


def causal_mask(count: int, device: torch.device) -> Tensor:
    """1 1 T T: a query sees the keys up to its own."""
    ahead = torch.ones(count, count, dtype=torch.bool, device=device).triu(1)
    return torch.zeros(1, 1, count, count, device=device).masked_fill(ahead, UNSEEN)


def rows_of(
    model: Llama, tokens: Sequence[Tokens], depth: Sequence[Tokens], end: Sequence[Tokens] | None, start: int
) -> Rows:
    """One row per sequence of tokens, or per tree.

    Args:
        model: tells the device, the attention window and the score bias.
        tokens: of each row.
        depth: each token's position in its sequence.
        end: as in `Tree`; None if every row is one sequence.
        start: length of the beginning.
    """
    device = model.tok_embeddings.weight.device
    lengths = np.array([len(row) for row in tokens])
    width = int(lengths.max())
    padding = None
    if lengths.min() < width:
        offsets = np.arange(width)
        inside = offsets < lengths[:, None]  # R T
        source = np.where(inside, (np.cumsum(lengths) - lengths)[:, None] + offsets, 0).ravel()
        padding = Padding(*(torch.from_numpy(found).to(device) for found in (source, np.flatnonzero(inside))))
    flat, flat_depth = (torch.from_numpy(np.concatenate(found)).to(device) for found in (tokens, depth))
    steps = torch.arange(width, device=device)
    first = torch.zeros(1, dtype=torch.int64, device=device)
    own = None
    if end is not None or model.window is not None or model.position.score_bias(first, first) is not None:
        seen = (steps <= steps[:, None])[None]  # 1 T S
        if end is not None:
            ends = torch.from_numpy(_padded(end, width, 0)).to(device)
            seen = seen & (steps[:, None] < ends[:, None])
        # padding, which is nobody's ancestor, sees itself
        places = torch.from_numpy(_padded(depth, width, start)).to(device)
        own = score_mask(model, seen | (steps == steps[:, None]), places, places)
    before = torch.arange(start, device=device)[None]
    of_beginning = score_mask(model, None, flat_depth[None], before) if start else None
    return Rows(len(tokens), flat, flat_depth, padding, own, of_beginning)


def score_mask(model: Llama, seen: Tensor | None, queries: Tensor, keys: Tensor) -> Tensor | None:
    """What is added to the scores of queries at positions R T for keys at positions R S: R (1 or H) T S in float32.

    A score bias and a window depend on the distance alone.

    Args:
        model: its bias and window.
        seen: R or 1, T S: which keys the order of tokens allows; None for all.
        queries: R T.
        keys: R S.

    Returns:
        None if every key is seen and no bias added.
    """
    distance = (queries[:, :, None] - keys[:, None, :]).clamp(min=0)  # R T S
    if model.window is not None:
        near = distance < model.window
        seen = near if seen is None else seen & near
    longest = int(distance.max())
    along = torch.arange(longest + 1, device=distance.device)
    by_distance = model.position.score_bias(along[-1:], along)  # H 1 L, farthest first
    added = None
    if by_distance is not None:
        added = by_distance[:, 0].flip(-1).float()[:, distance].transpose(0, 1)  # R H T S
    if seen is None:
        return added
    hidden = ~seen[:, None]  # R 1 T S
    if added is None:
        added = torch.zeros(hidden.shape, device=hidden.device)
    return added.masked_fill(hidden, UNSEEN)


def _padded(rows: Sequence[Tokens], width: int, filler: int) -> Tokens:
    padded = np.full((len(rows), width), filler, dtype=np.int64)
    for row, values in enumerate(rows):
        padded[row, : len(values)] = values
    return padded


def run(model: Llama, rows: Rows, memories: Sequence[RowLayer]) -> Tensor:
    """The normed output of the last block for all tokens of the rows, N D."""
    model.position.check_length(int(rows.depth.max()) + 1)
    x = model.position.embed(model.tok_embeddings(rows.tokens[None]), rows.depth)  # 1 N D
    return model.through_blocks(x, rows.depth, AttentionMask(0), memories)[0]


def layers_of(model: Llama, rows: Rows, beginning: Beginning, keep: bool = False) -> list[RowLayer]:
    """What each block's attention needs in a pass behind a beginning."""
    known: Sequence[KeysAndValues | None] = beginning.layers or [None] * len(model.layers)
    return [RowLayer(rows, of_layer, keep) for of_layer in known]


def extended(model: Llama, beginning: Beginning, tokens: Tokens) -> Beginning:
    """The beginning with these tokens behind it."""
    depth = np.arange(beginning.length, beginning.length + len(tokens))
    rows = rows_of(model, [tokens], [depth], None, beginning.length)
    memories = layers_of(model, rows, beginning, keep=True)
    run(model, rows, memories)
    layers = []
    for memory in memories:
        assert memory.kept is not None
        if memory.beginning is None:
            layers.append(memory.kept)
        else:
            pairs = zip(memory.beginning, memory.kept, strict=True)
            k, v = (torch.cat(pair, dim=2) for pair in pairs)
            layers.append((k, v))
    return Beginning(beginning.length + len(tokens), layers)
