"""Log-likelihoods of tokens in context: shared beginnings computed once, logits only for the tokens that are scored."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from llamalab.evaluation.batching import by_length, pass_tokens
from llamalab.evaluation.packed import NOTHING, Beginning, extended, layers_of, rows_of, run
from llamalab.evaluation.prefix_tree import Forest, Group, Tree
from llamalab.model.llama import Llama

# Float32 logits that exist at one time (64 MiB); scored positions go through the output head in pieces of this.
LOGITS_AT_ONCE = 2**24
# A beginning is kept for sequences that have so many tokens behind it, or half a forward pass if that is less.
GROUP_TOKENS = 256


@dataclass(frozen=True)
class Window:
    """One sequence: `tokens` go in, and the last len(targets) positions, at least one, are asked for `targets`."""

    tokens: Sequence[int]
    targets: Sequence[int]


@dataclass(frozen=True)
class Score:
    """Sum of the targets' log-probabilities in nats, and whether each was the most likely token."""

    log_likelihood: float
    greedy: bool


@torch.inference_mode()
def score(
    model: Llama, windows: Sequence[Window], batch_tokens: int, device: torch.device
) -> Iterator[tuple[int, Score]]:
    """The index and score of each window, as they are computed; scores do not depend on what is scored together.

    Args:
        model: on `device`, in evaluation mode.
        windows: none longer than the model's max_seq_len.
        batch_tokens: padded tokens per forward pass at most, except that one row is always let through.
        device: where the model is.
    """
    forest = Forest([window.tokens for window in windows], [len(window.targets) for window in windows])
    size = pass_tokens(batch_tokens, device)
    # Per layer a token takes about 24 D² operations outside of attention and 4 D for each key that it meets; attention
    # runs at perhaps a third of the speed.
    exchange = 2 * model.dim
    waiting: list[tuple[Group, Beginning]] = [(forest.groups(min(GROUP_TOKENS, size // 2)), NOTHING)]
    while waiting:
        group, before = waiting.pop()
        beginning = extended(model, before, group.tokens) if len(group.tokens) else before
        trees = list(forest.trees(group, exchange, max(size, model.max_seq_len)))
        for batch in by_length([len(tree.tokens) for tree in trees], size):
            yield from _score_trees(model, [trees[index] for index in batch], windows, beginning, device)
        waiting += [(inner, beginning) for inner in reversed(group.groups)]


def _score_trees(
    model: Llama, trees: Sequence[Tree], windows: Sequence[Window], beginning: Beginning, device: torch.device
) -> list[tuple[int, Score]]:
    chains = all(len(tree.members) == 1 for tree in trees)
    ends = None if chains else [tree.end for tree in trees]
    rows = rows_of(model, [tree.tokens for tree in trees], [tree.depth for tree in trees], ends, beginning.length)
    hidden = run(model, rows, layers_of(model, rows, beginning))  # N D

    first = np.cumsum([0, *(len(tree.tokens) for tree in trees)])
    nodes = np.concatenate([first[row] + scored for row, tree in enumerate(trees) for scored in tree.scored])
    members = [index for tree in trees for index in tree.members]
    targets = np.concatenate([np.asarray(windows[index].targets, dtype=np.int64) for index in members])
    # what several choices ask of one position is answered from the same logits
    places, asked = np.unique(nodes, return_inverse=True)
    log_probabilities, hits = _head(
        hidden[torch.from_numpy(places).to(device)], model.head_weight(), asked, torch.from_numpy(targets)
    )
    counts = [len(windows[index].targets) for index in members]
    parts = zip(members, log_probabilities.split(counts), hits.split(counts), strict=True)
    return [(index, Score(float(of_window.sum()), bool(hit.all()))) for index, of_window, hit in parts]


def _head(hidden: Tensor, weight: Tensor, asked: np.ndarray, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities (float64, N) of targets N, and whether each is the argmax, both on the CPU.

    The softmax is taken in float32 whatever the model's precision.

    Args:
        hidden: hidden states M D.
        weight: the output head, V D.
        asked: for each target the hidden state that it is asked of, N.
        targets: N, int64, on the CPU.
    """
    log_probabilities = torch.empty(len(targets), dtype=torch.float64)
    hits = torch.empty(len(targets), dtype=torch.bool)
    size = max(1, LOGITS_AT_ONCE // weight.shape[0])
    order = np.argsort(asked, kind="stable")
    pieces = hidden.split(size)
    bounds = np.searchsorted(asked[order], size * np.arange(len(pieces) + 1))
    for piece, (first, last) in zip(pieces, itertools.pairwise(bounds), strict=True):
        which = torch.from_numpy(order[first:last])
        rows = (torch.from_numpy(asked[order[first:last]] % size)).to(hidden.device)
        chosen = targets[which].to(hidden.device)
        logits = (piece @ weight.T).float()  # m V
        largest, best = logits.max(-1)
        hits[which] = (best[rows] == chosen).cpu()
        asked_for = logits[rows, chosen] - largest[rows]
        total = logits.sub_(largest[:, None]).exp_().sum(-1).log_()
        log_probabilities[which] = (asked_for - total[rows]).double().cpu()
    return log_probabilities, hits
