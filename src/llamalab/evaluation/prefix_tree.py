"""Which beginnings sequences share, and what of that is worth computing once.

Sorted, sequences are the leaves of a tree of tokens (a trie) in depth-first order, and the common prefix of neighbours
says all about it. Sharing happens in two ways: a beginning of many sequences (the few-shot examples of a task) becomes
a `Group`, whose keys and values are computed once and kept; sequences that have most of themselves in common (the
choices of one question) become one `Tree`, a single row of a batch in which each token sees its own ancestors only.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Tokens = npt.NDArray[np.int64]

# A beginning is kept for a group if that saves this share of all its sequences' tokens.
GROUP_SAVING = 0.03


@dataclass
class Group:
    """Sequences behind a common beginning.

    Attributes:
        start: tokens of the beginning that the group above supplies.
        tokens: the rest of the beginning, which is computed for this group; none at the root.
        members: indices of the sequences that continue from here, sorted by their tokens.
        groups: groups with a longer beginning.
    """

    start: int
    tokens: Tokens
    members: list[int] = field(default_factory=list)
    groups: list["Group"] = field(default_factory=list)

    @property
    def depth(self) -> int:
        """Tokens of the whole beginning."""
        return self.start + len(self.tokens)


@dataclass(frozen=True)
class Tree:
    """Sequences merged where they agree, as one row of n tokens in depth-first order.

    Attributes:
        tokens: n, behind the group's beginning.
        depth: n, each token's position in its sequence.
        end: n, the first row index that is no descendant: token t sees token s if s <= t < end[s].
        members: indices of the sequences.
        scored: for each member the row indices of its last tokens, as many as it has targets.
    """

    tokens: Tokens
    depth: Tokens
    end: Tokens
    members: list[int]
    scored: list[Tokens]


class Forest:
    """Sequences, sorted so that those with a common beginning are neighbours.

    Args:
        sequences: token ids, none empty.
        own: for each sequence how many of its last tokens are wanted as hidden states; 1 or more. Kept beginnings
            never contain them.
        later: for sequences that are to be continued, each in a row of its own, how many tokens each may get; None
            for sequences that are only read.
    """

    def __init__(
        self, sequences: Sequence[Sequence[int]], own: Sequence[int], later: Sequence[int] | None = None
    ) -> None:
        self.sequences = [np.asarray(sequence, dtype=np.int64) for sequence in sequences]
        self.own = own
        # big-endian bytes compare as the numbers do
        keys = [sequence.astype(">u4").tobytes() for sequence in self.sequences]
        self.order = sorted(range(len(keys)), key=keys.__getitem__)
        ordered = [self.sequences[index] for index in self.order]
        self.lengths = np.array([len(sequence) for sequence in ordered], dtype=np.int64)
        self.common = np.zeros(len(ordered), dtype=np.int64)  # with the sequence before
        for place in range(1, len(ordered)):
            self.common[place] = common_prefix(ordered[place - 1], ordered[place])
        self.free = self.lengths - np.array([own[index] for index in self.order], dtype=np.int64)
        self.rows = later is not None
        continued = self.lengths + np.array([later[index] for index in self.order]) if later else self.lengths
        self.fresh = np.concatenate(([0], np.cumsum(continued - self.common)))  # tokens of the trie before a place

    def groups(self, least: int) -> Group:
        """The root group, with an empty beginning.

        Args:
            least: tokens that must be left of a group's sequences behind its beginning, since they are computed apart
                from all others.
        """
        root = Group(0, np.empty(0, dtype=np.int64))
        stack = [(root, 0, len(self.order))] if self.order else []
        while stack:
            group, low, high = stack.pop()
            shared = int(min(self.common[low + 1 : high].min(initial=self.lengths[low]), self.free[low:high].min()))
            remainder = self._below(low, high, shared)
            if high - low == 1 or remainder < least:
                group.members += self.order[low:high]
                continue
            branches = np.flatnonzero(self.common[low + 1 : high] <= shared) + low + 1
            copies = high - low - 1 if self.rows else len(branches)
            if shared > group.depth and copies * (shared - group.depth) >= GROUP_SAVING * remainder:
                beginning = self.sequences[self.order[low]][group.depth : shared]
                inner = Group(group.depth, beginning)
                group.groups.append(inner)
                group = inner
            if len(branches) == 0:  # a sequence's own tokens begin before the others part
                group.members += self.order[low:high]
                continue
            cuts = [low, *branches.tolist(), high]
            # a stack: last in first out, and members are to come in sorted order
            stack += [(group, first, last) for first, last in zip(cuts[-2::-1], cuts[:0:-1], strict=True)]
        return root

    def trees(self, group: Group, exchange: int, largest: int) -> Iterator[Tree]:
        """The group's own members as trees.

        Args:
            group: one of `groups`.
            exchange: how many pairs of query and key cost as much as one token outside of attention. In a row of n
                tokens a further member with m tokens of its own adds n m pairs that it does not need.
            largest: tokens of a tree of several members.
        """
        places = {index: place for place, index in enumerate(self.order)}
        tree: _Growing | None = None
        last = 0
        for index in group.members:
            place = places[index]
            shared = int(self.common[last + 1 : place + 1].min(initial=self.lengths[place])) if tree else 0
            last = place
            if tree is not None:
                new = int(self.lengths[place]) - shared
                saved = shared - group.depth
                if tree.size * new > saved * exchange or tree.size + new > largest:
                    yield tree.finished()
                    tree = None
            if tree is None:
                tree, shared = _Growing(group.depth), group.depth
            tree.add(index, self.sequences[index], shared, self.own[index])
        if tree is not None:
            yield tree.finished()

    def _below(self, low: int, high: int, depth: int) -> int:
        """Tokens of the trie of sequences low .. high deeper than their common beginning of `depth`."""
        first = self.fresh[low + 1] - self.fresh[low] + self.common[low] - depth
        return int(first + self.fresh[high] - self.fresh[low + 1])


class _Growing:
    """A tree while members are added in sorted order."""

    def __init__(self, start: int) -> None:
        self.start = start
        self.size = 0
        self.path = np.empty(0, dtype=np.int64)  # row indices of the last member's tokens
        self.tokens: list[Tokens] = []
        self.depth: list[Tokens] = []
        self.closed: list[tuple[Tokens, int]] = []  # nodes whose subtree ended, and where
        self.members: list[int] = []
        self.scored: list[Tokens] = []

    def add(self, index: int, sequence: Tokens, shared: int, own: int) -> None:
        new = len(sequence) - shared
        kept, left = np.split(self.path, [shared - self.start])
        self.closed.append((left, self.size))
        self.path = np.concatenate((kept, np.arange(self.size, self.size + new)))
        self.tokens.append(sequence[shared:])
        self.depth.append(np.arange(shared, len(sequence)))
        self.size += new
        self.members.append(index)
        self.scored.append(self.path[len(self.path) - own :])

    def finished(self) -> Tree:
        end = np.empty(self.size, dtype=np.int64)
        for nodes, place in [*self.closed, (self.path, self.size)]:
            end[nodes] = place
        return Tree(np.concatenate(self.tokens), np.concatenate(self.depth), end, self.members, self.scored)


def common_prefix(one: Tokens, other: Tokens) -> int:
    """How many tokens two sequences have in common at their beginning."""
    length = min(len(one), len(other))
    differs = one[:length] != other[:length]
    return int(differs.argmax()) if differs.any() else length
