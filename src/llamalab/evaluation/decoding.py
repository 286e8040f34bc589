"""Text from a model, one token at a time, with a key-value cache."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from llamalab.model.llama import Llama


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


@torch.inference_mode()
def decode(model: Llama, prompts: Sequence[Prompt], device: torch.device) -> list[list[int]]:
    """The new tokens of each prompt, in order.

    Prompts of unequal length need no padding: all sequences are at the same position in every step, and one that is
    still inside its prompt is fed the prompt's token instead of its own (as Meta's generation.py does).

    Args:
        model: on `device`, in evaluation mode.
        prompts: none whose tokens plus limit exceed the model's max_seq_len.
        device: where the model is.
    """
    generators = [torch.Generator().manual_seed(prompt.sampling.seed) for prompt in prompts]
    new: list[list[int]] = [[] for _ in prompts]
    going = [prompt.limit > 0 for prompt in prompts]
    cache = model.new_cache(len(prompts), max(len(prompt.tokens) + prompt.limit for prompt in prompts))
    position = min(len(prompt.tokens) for prompt in prompts)
    column = torch.tensor([list(prompt.tokens[:position]) for prompt in prompts], device=device)  # B T
    while any(going):
        logits = (model.hidden(column, cache)[:, -1] @ model.head_weight().T).float().cpu()  # B V
        following = []
        for row, prompt in enumerate(prompts):
            if position < len(prompt.tokens):
                following.append(prompt.tokens[position])
            elif going[row]:
                token = draw(logits[row], prompt.sampling, generators[row])
                new[row].append(token)
                going[row] = not prompt.finished(new[row]) and len(new[row]) < prompt.limit
                following.append(token)
            else:
                following.append(0)
        column = torch.tensor(following, device=device)[:, None]
        position += 1
    return new


def draw(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """One token from the logits V of the next one."""
    if sampling.temperature == 0:
        return int(logits.argmax())
    probabilities = (logits / sampling.temperature).softmax(-1)
    if sampling.top_p < 1:
        ordered, order = probabilities.sort(descending=True)
        # a token stays if the ones before it do not yet reach top_p, so the most likely one always stays
        ordered[ordered.cumsum(0) - ordered >= sampling.top_p] = 0
        probabilities = torch.zeros_like(probabilities).scatter(0, order, ordered)
    return int(torch.multinomial(probabilities, 1, generator=generator))
