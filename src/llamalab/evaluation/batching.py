"""Sequences of unequal length in batches of similar ones."""

from collections.abc import Sequence

import torch

# On a CPU larger passes gain nothing, and what they compute in between no longer fits into its caches.
CPU_PASS = 512


def pass_tokens(batch_tokens: int, device: torch.device) -> int:
    """The tokens of a forward pass: as many as allowed, on a CPU fewer."""
    return min(batch_tokens, CPU_PASS) if device.type == "cpu" else batch_tokens


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
