"""Log-likelihoods of tokens in context, with logits made only for the tokens that are scored."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from llamalab.evaluation.batching import by_length, right_padded
from llamalab.model.llama import Llama

# Float32 logits that exist at one time (64 MiB); scored positions go through the output head in pieces of this.
LOGITS_AT_ONCE = 2**24


@dataclass(frozen=True)
class Window:
    """One forward pass: `tokens` go in, and the last len(targets) positions are asked for `targets`."""

    tokens: Sequence[int]
    targets: Sequence[int]


@dataclass(frozen=True)
class Score:
    """Sum of the targets' log-probabilities in nats, and whether each was the most likely token."""

    log_likelihood: float
    greedy: bool


@torch.inference_mode()
def score(
    model: Llama, windows: Sequence[Window], batch_tokens: int, device: torch.device, advance: Callable[[int], None]
) -> list[Score]:
    """The score of each window, in the order given and whatever the batches are.

    Args:
        model: on `device`, in evaluation mode.
        windows: none longer than the model's max_seq_len.
        batch_tokens: padded tokens per forward pass.
        device: where the model is.
        advance: told how many windows were finished, after each batch.
    """
    scores: list[Score | None] = [None] * len(windows)
    for batch in by_length([len(window.tokens) for window in windows], batch_tokens):
        chosen = [windows[index] for index in batch]
        hidden = model.hidden(right_padded([window.tokens for window in chosen], device))  # B T D
        scored = torch.cat(
            [
                hidden[row, len(window.tokens) - len(window.targets) : len(window.tokens)]
                for row, window in enumerate(chosen)
            ]
        )  # N D
        targets = torch.tensor([token for window in chosen for token in window.targets], device=device)
        log_probabilities, hits = _head(scored, model.head_weight(), targets)
        counts = [len(window.targets) for window in chosen]
        parts = zip(batch, log_probabilities.split(counts), hits.split(counts), strict=True)
        for index, of_window, hit in parts:
            scores[index] = Score(float(of_window.sum()), bool(hit.all()))
        advance(len(batch))
    return [found for found in scores if found is not None]


def _head(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities (float64, N) of targets N under hidden states N D, and whether each is the argmax.

    Both come back on the CPU. The softmax is taken in float32 whatever the model's precision.
    """
    log_probabilities, hits = [], []
    size = max(1, LOGITS_AT_ONCE // weight.shape[0])
    for h, t in zip(hidden.split(size), targets.split(size), strict=True):
        logits = (h @ weight.T).float()  # N V
        chosen = logits.gather(-1, t[:, None])[:, 0]
        log_probabilities.append(chosen - logits.logsumexp(-1))
        hits.append(logits.argmax(-1) == t)
    return torch.cat(log_probabilities).double().cpu(), torch.cat(hits).cpu()
