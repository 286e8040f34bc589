"""The next token from its logits: the most likely one, or a draw."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn.

    Attributes:
        temperature: 0 takes the most likely token; otherwise the logits are divided by it.
        top_p: only the smallest set of tokens whose probabilities reach this sum is drawn from (Holtzman et al.
            2020); 1 keeps all.
        seed: makes the draws of one prompt repeatable, whatever it is batched with.
    """

    temperature: float
    top_p: float
    seed: int

    def chances(self, count: int) -> Tensor | None:
        """The prompt's own uniform numbers, one per new token (float64); None if nothing is drawn."""
        if self.temperature == 0:
            return None
        return torch.rand(count, generator=torch.Generator().manual_seed(self.seed), dtype=torch.float64)


def next_tokens(logits: Tensor, samplings: Sequence[Sampling], chances: Sequence[float | None]) -> list[int]:
    """One token per row of logits B V; `chances` has a uniform number for each row that is drawn.

    A row's token does not depend on the other rows: greedy rows, plain draws and draws from a nucleus are each
    computed together, by the same steps however many they are.
    """
    chosen = logits.argmax(-1).tolist()
    kinds: dict[bool, list[int]] = {}
    for row, sampling in enumerate(samplings):
        if sampling.temperature > 0:
            kinds.setdefault(sampling.top_p < 1, []).append(row)
    for nucleus, rows in kinds.items():
        uniform = torch.tensor([chances[row] for row in rows], dtype=torch.float64, device=logits.device)
        temperature = torch.tensor([samplings[row].temperature for row in rows], device=logits.device)
        probabilities = (logits[rows] / temperature[:, None]).softmax(-1).double()  # b V
        order = None
        if nucleus:
            probabilities, order = probabilities.sort(descending=True)
            top_p = torch.tensor([samplings[row].top_p for row in rows], device=logits.device)
            # a token stays if the ones before it do not yet reach top_p, so the most likely one always stays
            probabilities[probabilities.cumsum(-1) - probabilities >= top_p[:, None]] = 0
        cumulative = probabilities.cumsum(-1)
        # the first token whose cumulative probability exceeds the number, never one of probability 0
        drawn = torch.searchsorted(cumulative, uniform[:, None] * cumulative[:, -1:], right=True)
        drawn = drawn.clamp(max=logits.shape[-1] - 1)
        drawn = drawn if order is None else order.gather(-1, drawn)
        for row, token in zip(rows, drawn[:, 0].tolist(), strict=True):
            chosen[row] = token
    return chosen
