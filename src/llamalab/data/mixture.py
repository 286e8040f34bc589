"""The order of training sequences as a pure function of (data, seed, index): DESIGN decision 5.

Sequence number n of the training run is one window of one source. Both are computed from n alone, so a run
resumes from its step number, and any number of ranks cuts the same global batch. Nothing is materialised: the
memory is one block of source numbers, whatever the size of the corpus.
"""

import functools
import hashlib
from collections.abc import Mapping
from fractions import Fraction
from math import gcd, lcm

import numpy as np
import numpy.typing as npt

from llamalab.common.errors import UserError
from llamalab.data.permutation import key_of, mix, permute

Int64Array = npt.NDArray[np.int64]

# Proportions whose common denominator is larger than this are rounded to it (an error below 1e-4).
LARGEST_BLOCK = 10_000

SOURCES, WINDOWS = 1, 2  # the two independent families of keys


def renormalised(sampling: Mapping[str, float], empty_slots: Mapping[str, str]) -> dict[str, float]:
    """The sampling proportions over the slots that have text, summing to 1.

    Args:
        sampling: slot to weight in any unit (the paper's Table 1 states percent).
        empty_slots: slot to the reason why it has no text.

    Raises:
        UserError: a negative weight, no weight left, an empty slot that is not in `sampling`.
    """
    for slot in empty_slots:
        if slot not in sampling:
            raise UserError(f"data.empty_slots.{slot}: not a slot of data.sampling ({', '.join(sampling)})")
    for slot, weight in sampling.items():
        if not 0 <= weight < float("inf"):
            raise UserError(f"data.sampling.{slot}: {weight} is not a proportion; give a number that is not negative")
    present = {slot: Fraction(str(weight)) for slot, weight in sampling.items() if slot not in empty_slots}
    total = sum(present.values())
    if total == 0:
        raise UserError("data.sampling: every slot is empty or zero; give at least one a positive proportion")
    return {slot: float(weight / total) for slot, weight in present.items()}


def block_counts(proportions: Mapping[str, float]) -> dict[str, int]:
    """How many sequences of each source one block holds.

    Exact in the smallest block that makes every count whole (Table 1 without StackExchange: 134 + 30 + 9 + 9 + 9
    + 5 = 196); above `LARGEST_BLOCK` the counts are rounded by largest remainder, but a source that is wanted at
    all keeps at least one sequence a block.
    """
    rounded = {name: Fraction(weight).limit_denominator(LARGEST_BLOCK) for name, weight in proportions.items()}
    smallest = Fraction(1, LARGEST_BLOCK)
    exact = {name: max(rounded[name], smallest) if weight else Fraction() for name, weight in proportions.items()}
    total = sum(exact.values())
    assert total > 0
    shares = {name: weight / total for name, weight in exact.items()}
    size = lcm(*(share.denominator for share in shares.values()))
    if size <= LARGEST_BLOCK:
        counts = {name: int(share * size) for name, share in shares.items()}
    else:
        quotas = {name: share * LARGEST_BLOCK for name, share in shares.items()}
        counts = {name: max(int(quota), int(quota > 0)) for name, quota in quotas.items()}
        by_remainder = sorted(quotas, key=lambda name: quotas[name] - int(quotas[name]), reverse=True)
        for name in by_remainder[: max(0, LARGEST_BLOCK - sum(counts.values()))]:
            counts[name] += 1
    divisor = gcd(*counts.values())
    return {name: count // divisor for name, count in counts.items()}


class Mixture:
    """Random access to an endless sequence of windows, mixed in fixed proportions.

    Sources come in shuffled blocks whose counts hit the proportions exactly. Each source walks through its own
    windows in an order that is permuted anew in every epoch, so no window comes again before all others came.

    Args:
        windows: source to its number of windows. The order of the sources is part of the definition.
        proportions: source to its share of the sequences (any unit).
        seed: chooses the order.

    Raises:
        UserError: a wanted source without a single window.
    """

    def __init__(self, windows: Mapping[str, int], proportions: Mapping[str, float], seed: int) -> None:
        self.sources = tuple(windows)
        self.windows = np.array([windows[name] for name in self.sources], dtype=np.int64)
        counts = block_counts({name: proportions[name] for name in self.sources})
        self.counts = np.array([counts[name] for name in self.sources], dtype=np.int64)
        self.block = int(self.counts.sum())
        self.seed = seed
        for name in self.sources:
            if counts[name] and windows[name] < 1:
                raise UserError(
                    f"data.sampling.{name}: the source has no whole training window; "
                    "lower scale.seq_len, give it more text or set its proportion to 0"
                )
        # Keyed by name: leaving a source out changes which sequences are drawn from the others, not their order.
        self._source_keys = [int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) for name in self.sources]
        self._sorted_block = np.repeat(np.arange(len(self.sources)), self.counts)
        # Consecutive batches read the same block or its neighbour.
        self._block_order = functools.lru_cache(maxsize=4)(self._shuffled_block)

    def _shuffled_block(self, number: int) -> tuple[Int64Array, Int64Array]:
        """For each place in block `number`: its source, and how many places of that source come before it."""
        scores = mix(key_of(self.seed, SOURCES, number) + np.arange(self.block, dtype=np.uint64))
        order = self._sorted_block[np.argsort(scores, kind="stable")]
        earlier = np.empty(self.block, dtype=np.int64)
        for source, count in enumerate(self.counts):
            earlier[order == source] = np.arange(count)
        return order, earlier

    def at(self, numbers: Int64Array) -> tuple[Int64Array, Int64Array]:
        """The sequences with these numbers.

        Args:
            numbers: N sequence numbers, each at least 0, in any order.

        Returns:
            N indices into `sources`, and N windows of those sources.
        """
        blocks, places = np.divmod(numbers, self.block)
        source = np.empty(len(numbers), dtype=np.int64)
        draw = np.empty(len(numbers), dtype=np.int64)  # how many windows of the same source came before
        for block in np.unique(blocks):
            here = blocks == block
            order, earlier = self._block_order(int(block))
            source[here] = order[places[here]]
            draw[here] = block * self.counts[source[here]] + earlier[places[here]]
        epoch, position = np.divmod(draw, self.windows[source])
        window = np.empty(len(numbers), dtype=np.int64)
        for index, turn in {(int(s), int(e)) for s, e in zip(source, epoch, strict=True)}:
            here = (source == index) & (epoch == turn)
            key = key_of(self.seed, WINDOWS, self._source_keys[index], turn)
            window[here] = permute(position[here], int(self.windows[index]), key)
        return source, window

    def epochs(self, sequences: int) -> dict[str, float]:
        """How often each source has been seen after so many sequences (Table 1's "epochs")."""
        share = self.counts / self.block
        return {name: float(sequences * share[i] / max(1, self.windows[i])) for i, name in enumerate(self.sources)}
