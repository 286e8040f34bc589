"""Text from a model, one token at a time: shared beginnings kept once, finished sequences replaced by waiting ones."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from llamalab.evaluation.batching import by_length, pass_tokens
from llamalab.evaluation.packed import (
    NOTHING,
    Beginning,
    KeysAndValues,
    RowLayer,
    Rows,
    extended,
    layers_of,
    rows_of,
    run,
    score_mask,
)
from llamalab.evaluation.prefix_tree import Forest, Group
from llamalab.evaluation.sampling import Sampling, next_tokens
from llamalab.model.llama import Llama

# Tokens whose keys and values are kept at a time, in multiples of a forward pass's tokens: a step computes one token
# per sequence, so it is the more efficient the more sequences there are.
KEPT_PASSES = 4
# Waiting prompts are read when this share of the rows is free, since a pass over few tokens is slow.
FREE_SHARE = 0.25
# A beginning is kept for sequences that fill this part of a forward pass or more behind it, new tokens included.
GROUP_PASSES = 1 / 4


@dataclass(frozen=True)
class Prompt:
    """One sequence to continue.

    Attributes:
        tokens: the prompt, at least one token (BOS).
        limit: at most this many new tokens.
        sampling: how they are drawn.
        finished: told all new tokens after each one; True ends the sequence there.
    """

    tokens: Sequence[int]
    limit: int
    sampling: Sampling
    finished: Callable[[list[int]], bool]


def decode(model: Llama, prompts: Sequence[Prompt], device: torch.device) -> list[list[int]]:
    """The new tokens of each prompt, in order, all continued together; as `generate`."""
    everything = sum(len(prompt.tokens) + prompt.limit for prompt in prompts)
    found = dict(generate(model, prompts, everything, device))
    return [found[index] for index in range(len(prompts))]


@torch.inference_mode()
def generate(
    model: Llama, prompts: Sequence[Prompt], batch_tokens: int, device: torch.device
) -> Iterator[tuple[int, list[int]]]:
    """The index and the new tokens of each prompt, as they are finished; they do not depend on what is batched.

    Args:
        model: on `device`, in evaluation mode.
        prompts: none whose tokens plus limit exceed the model's max_seq_len.
        batch_tokens: padded tokens per forward pass over prompts; keys and values of KEPT_PASSES times as many are
            kept, besides those of shared beginnings.
        device: where the model is.
    """
    asked = [index for index, prompt in enumerate(prompts) if prompt.limit > 0]
    yield from ((index, []) for index, prompt in enumerate(prompts) if prompt.limit <= 0)
    forest = Forest([prompts[i].tokens for i in asked], [1] * len(asked), [prompts[i].limit for i in asked])
    waiting: list[tuple[Group, Beginning]] = [(forest.groups(int(GROUP_PASSES * batch_tokens)), NOTHING)]
    while waiting:
        group, before = waiting.pop()
        beginning = extended(model, before, group.tokens) if len(group.tokens) else before
        if group.members:
            sequences = [_Sequence(asked[i], prompts[asked[i]], beginning.length) for i in group.members]
            yield from _Decoder(model, beginning, sequences, batch_tokens, device).run()
        waiting += [(inner, beginning) for inner in reversed(group.groups)]


@dataclass
class _Sequence:
    """A prompt and what has come of it.

    Attributes:
        index: of the prompt.
        start: tokens of the prompt that belong to the beginning.
        new: its new tokens; all but the last have gone through the model.
        done: whether the last new token ended it.
        chances: uniform numbers for its draws.
    """

    index: int
    prompt: Prompt
    start: int
    new: list[int] = field(default_factory=list)
    done: bool = False
    chances: Sequence[float | None] = ()

    def __post_init__(self) -> None:
        chances = self.prompt.sampling.chances(self.prompt.limit)
        self.chances = [None] * self.prompt.limit if chances is None else chances.tolist()

    @property
    def rest(self) -> Sequence[int]:
        """The prompt behind the beginning."""
        return self.prompt.tokens[self.start :]

    @property
    def room(self) -> int:
        """Tokens of its own that it may come to."""
        return len(self.prompt.tokens) - self.start + self.prompt.limit

    def extend(self, token: int) -> bool:
        """Adds a token; returns whether it was the last."""
        self.new.append(token)
        return len(self.new) == self.prompt.limit or self.prompt.finished(self.new)


class _Store:
    """One layer's own keys and values of all sequences in progress, R G S_max d each."""

    def __init__(self, rows: int, room: int, like: KeysAndValues) -> None:
        groups, width = like[0].shape[1], like[0].shape[3]
        # zeros, since what is not seen takes part with weight 0, and 0 times an infinity would be no number
        self.keys, self.values = (kind.new_zeros(rows, groups, room, width) for kind in like)

    def write(self, rows: Sequence[int], known: KeysAndValues, count: int) -> None:
        """Puts the keys and values of prompts, r G T d, into rows from their first place on."""
        for mine, theirs in zip((self.keys, self.values), known, strict=True):
            mine[rows, :, :count] = theirs[:, :, :count]

    def move(self, source: int, target: int) -> None:
        """Copies one row onto another."""
        for kind in (self.keys, self.values):
            kind[target] = kind[source]


class _StepLayer(RowLayer):
    """One layer in a step: each row's single new key goes behind those that the store has."""

    def __init__(self, rows: Rows, beginning: KeysAndValues | None, store: _Store, places: Tensor, seen: int) -> None:
        super().__init__(rows, beginning, keep=False)
        self.store, self.places, self.seen = store, places, seen

    def own(self, k: Tensor, v: Tensor) -> KeysAndValues:
        count = len(self.places)
        every = torch.arange(count, device=k.device)
        for kind, new in ((self.store.keys, k), (self.store.values, v)):
            kind[every, :, self.places] = new[:, :, 0]
        return self.store.keys[:count, :, : self.seen], self.store.values[:count, :, : self.seen]


class _Decoder:
    """Continues sequences behind one beginning, as many at a time as there is room for."""

    def __init__(
        self,
        model: Llama,
        beginning: Beginning,
        sequences: Sequence[_Sequence],
        batch_tokens: int,
        device: torch.device,
    ) -> None:
        self.model, self.beginning, self.device = model, beginning, device
        self.size = pass_tokens(batch_tokens, device)
        # Long ones first: those in progress together are of similar length, and what does not fit fails at once.
        self.queue = deque(sorted(sequences, key=lambda sequence: -sequence.room))
        self.room = self.queue[0].room
        self.rows = min(len(sequences), max(1, KEPT_PASSES * batch_tokens // self.room))
        self.going: list[_Sequence] = []  # row by row
        self.stores: list[_Store] = []

    def run(self) -> Iterator[tuple[int, list[int]]]:
        while self.queue or self.going:
            free = self.rows - len(self.going)
            if self.queue and (not self.going or free >= FREE_SHARE * self.rows):
                newcomers = [self.queue.popleft() for _ in range(min(free, len(self.queue)))]
                for batch in by_length([len(sequence.rest) for sequence in newcomers], self.size):
                    self._read([newcomers[index] for index in batch])
            else:
                self._step()
            yield from self._leave()

    def _read(self, newcomers: Sequence[_Sequence]) -> None:
        """Prompts through the model, and the first new token of each."""
        tokens = [np.asarray(sequence.rest, dtype=np.int64) for sequence in newcomers]
        start = self.beginning.length
        rows = rows_of(self.model, tokens, [np.arange(start, start + len(own)) for own in tokens], None, start)
        memories = layers_of(self.model, rows, self.beginning, keep=True)
        hidden = run(self.model, rows, memories)  # N D
        width = max(map(len, tokens))
        places = range(len(self.going), len(self.going) + len(newcomers))
        for index, memory in enumerate(memories):
            assert memory.kept is not None
            if index == len(self.stores):
                self.stores.append(_Store(self.rows, self.room, memory.kept))
            self.stores[index].write(list(places), memory.kept, width)
        last = torch.from_numpy(np.cumsum([len(own) for own in tokens]) - 1).to(self.device)
        self.going += newcomers
        self._choose(hidden[last], newcomers)

    def _step(self) -> None:
        """The last new token of each sequence through the model, and the next one."""
        before = self.beginning.length
        lengths = [len(sequence.rest) + len(sequence.new) - 1 for sequence in self.going]
        places = torch.tensor(lengths, device=self.device)  # R
        tokens = torch.tensor([sequence.new[-1] for sequence in self.going], device=self.device)  # R
        depth = places + before
        seen = max(lengths) + 1
        own = torch.arange(seen, device=self.device)
        own_mask = score_mask(
            self.model, own <= places[:, None, None], depth[:, None], (before + own).expand(len(lengths), -1)
        )
        behind = torch.arange(before, device=self.device)[None]
        of_beginning = score_mask(self.model, None, depth[None], behind) if before else None
        rows = Rows(len(lengths), tokens, depth, None, own_mask, of_beginning)
        known: Sequence[KeysAndValues | None] = self.beginning.layers or [None] * len(self.stores)
        memories = [
            _StepLayer(rows, of_layer, store, places, seen) for of_layer, store in zip(known, self.stores, strict=True)
        ]
        self._choose(run(self.model, rows, memories), self.going)

    def _choose(self, hidden: Tensor, sequences: Sequence[_Sequence]) -> None:
        logits = (hidden @ self.model.head_weight().T).float()  # R V
        samplings = [sequence.prompt.sampling for sequence in sequences]
        chances = [sequence.chances[len(sequence.new)] for sequence in sequences]
        for sequence, token in zip(sequences, next_tokens(logits, samplings, chances), strict=True):
            sequence.done = sequence.extend(token)

    def _leave(self) -> list[tuple[int, list[int]]]:
        """Takes out what is finished; the last row moves into each gap."""
        finished = []
        for row in reversed(range(len(self.going))):
            sequence = self.going[row]
            if sequence.done:
                finished.append((sequence.index, sequence.new))
                last = self.going.pop()
                if row < len(self.going):
                    self.going[row] = last
                    for store in self.stores:
                        store.move(len(self.going), row)
        return finished
