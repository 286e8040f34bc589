"""Decoding with a cache equals decoding without one; draws follow the softmax and ignore the batch."""

import pytest
import torch
from evaluation_builders import random_model

from llamalab.evaluation.decoding import Prompt, Sampling, decode, draw
from llamalab.model import Llama

CPU = torch.device("cpu")
GREEDY = Sampling(temperature=0.0, top_p=1.0, seed=0)


def never(new: list[int]) -> bool:
    """No stop."""
    return False


def without_cache(model: Llama, tokens: list[int], count: int) -> list[int]:
    """argmax of a full forward pass, again for every token."""
    sequence = list(tokens)
    with torch.no_grad():
        for _ in range(count):
            sequence.append(int(model(torch.tensor([sequence]))[0, -1].argmax()))
    return sequence[len(tokens) :]


@pytest.mark.parametrize("overrides", [["position=rope"], ["position=learned"], ["scale.n_kv_heads=2"]], ids=str)
def test_greedy_equals_argmax_without_cache(overrides: list[str]) -> None:
    model = random_model(*overrides)
    prompts = [[1, 17, 300], [1], [1, 5, 6, 7, 8, 9, 10, 11]]
    limits = [20, 5, 30]
    found = decode(model, [Prompt(p, n, GREEDY, never) for p, n in zip(prompts, limits, strict=True)], CPU)
    assert found == [without_cache(model, p, n) for p, n in zip(prompts, limits, strict=True)]
    assert len(set(found[2])) > 5


def test_a_sequence_ends_when_told_and_the_others_go_on() -> None:
    model = random_model()
    free = without_cache(model, [1, 9], 12)
    stops_at_four = Prompt([1, 9], 12, GREEDY, lambda new: len(new) == 4)
    nothing = Prompt([1, 9], 0, GREEDY, never)
    assert decode(model, [stops_at_four, Prompt([1, 9], 12, GREEDY, never), nothing], CPU) == [free[:4], free, []]


def test_samples_ignore_the_batch_and_repeat() -> None:
    model = random_model()
    prompts = [Prompt([1, token], 15, Sampling(1.0, 0.9, seed=token), never) for token in range(3, 9)]
    together = decode(model, prompts, CPU)
    assert together == decode(model, prompts, CPU)
    assert together == [decode(model, [prompt], CPU)[0] for prompt in prompts]
    other_seed = [Prompt(p.tokens, p.limit, Sampling(1.0, 0.9, seed=99), never) for p in prompts]
    assert decode(model, other_seed, CPU) != together


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_softmax(temperature: float) -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0, 0.5])
    expected = (logits.double() / temperature).softmax(-1)
    generator = torch.Generator().manual_seed(0)
    count = 8000
    drawn = torch.tensor([draw(logits, Sampling(temperature, 1.0, 0), generator) for _ in range(count)])
    frequencies = torch.bincount(drawn, minlength=5) / count
    assert ((frequencies - expected).abs() < 4 * (expected * (1 - expected) / count).sqrt()).all()


def test_top_p_keeps_the_smallest_set_that_reaches_it() -> None:
    logits = torch.tensor([0.1, 0.4, 0.2, 0.3]).log()
    generator = torch.Generator().manual_seed(0)

    def drawn(top_p: float) -> set[int]:
        return {draw(logits, Sampling(1.0, top_p, 0), generator) for _ in range(300)}

    assert drawn(0.3) == {1}
    assert drawn(0.6) == {1, 3}
    assert drawn(0.75) == {1, 3, 2}
    assert drawn(1.0) == {0, 1, 2, 3}
