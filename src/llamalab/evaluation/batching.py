"""Sequences of unequal length in rectangular batches with little padding."""

from collections.abc import Sequence

import torch
from torch import Tensor


def by_length(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Indices in batches, longest sequences first, so that a batch that does not fit fails at once.

    Args:
        lengths: tokens of each sequence.
        batch_tokens: a batch's padded size (sequences times the longest one) stays within this, except that one
            sequence is always let through.
    """
    batches: list[list[int]] = []
    room = 0
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if room == 0:
            batches.append([])
            room = max(1, batch_tokens // lengths[index])
        batches[-1].append(index)
        room -= 1
    return batches


def right_padded(sequences: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """B T int64 with zeros behind the shorter sequences.

    Under causal attention nothing before the padding sees it, so token 0 serves as well as any.
    """
    longest = max(map(len, sequences))
    return torch.tensor([[*sequence, *[0] * (longest - len(sequence))] for sequence in sequences], device=device)
