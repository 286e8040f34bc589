"""Decoding with a cache equals decoding without one; draws follow the softmax and ignore the batch."""

import pytest
import torch
from evaluation_builders import random_model

from llamalab.evaluation.decoding import Prompt, decode, generate
from llamalab.evaluation.sampling import Sampling, next_tokens
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


@pytest.mark.parametrize(
    "overrides",
    [
        ["position=rope"],
        ["position=learned"],
        ["scale.n_kv_heads=2"],
        ["attention=sliding_window", "attention.window=6", "position=t5", "scale.n_kv_heads=2"],
    ],
    ids=str,
)
def test_greedy_equals_argmax_without_cache(overrides: list[str]) -> None:
    model = random_model(*overrides)
    prompts = [[1, 17, 300], [1], [1, 5, 6, 7, 8, 9, 10, 11]]
    limits = [20, 5, 30]
    found = decode(model, [Prompt(p, n, GREEDY, never) for p, n in zip(prompts, limits, strict=True)], CPU)
    assert found == [without_cache(model, p, n) for p, n in zip(prompts, limits, strict=True)]
    assert len(set(found[2])) > 5


@pytest.mark.parametrize(
    "overrides",
    [[], ["attention=sliding_window", "attention.window=6", "position=alibi", "scale.n_kv_heads=2"]],
    ids=str,
)
def test_finished_sequences_make_room_behind_a_shared_beginning(overrides: list[str]) -> None:
    model = random_model(*overrides)
    shots = [1, *range(50, 66)]
    prompts = [Prompt([*shots, *range(70, 71 + i % 5)], 3 + i, GREEDY, lambda new: new[-1] % 7 == 0) for i in range(14)]
    expected = []
    for prompt in prompts:
        free = without_cache(model, list(prompt.tokens), prompt.limit)
        ends = [place for place, token in enumerate(free) if token % 7 == 0]
        expected.append(free[: ends[0] + 1] if ends else free)
    assert len({len(new) for new in expected}) > 4
    passes: list[int] = []
    model.layers[0].register_forward_pre_hook(lambda module, inputs: passes.append(inputs[0].shape[1]))
    for batch_tokens in (1, 24, 500):
        passes.clear()
        found = dict(generate(model, prompts, batch_tokens, CPU))
        assert [found[index] for index in range(len(prompts))] == expected
        # the examples once, the rest of each prompt, and each new token but the last
        assert sum(passes) >= 17 + sum(len(new) - 1 for new in expected)
        assert passes[0] == 17
    assert max(passes[2:]) <= len(prompts)


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


def drawn(logits: torch.Tensor, temperature: float, top_p: float, count: int) -> list[int]:
    """Many draws from the same logits, each with its own uniform number."""
    uniform = torch.rand(count, generator=torch.Generator().manual_seed(0)).tolist()
    return next_tokens(logits.expand(count, -1), [Sampling(temperature, top_p, 0)] * count, uniform)


@pytest.mark.parametrize("top_p", [1.0, 0.999999])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_softmax(temperature: float, top_p: float) -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0, 0.5])
    expected = (logits.double() / temperature).softmax(-1)
    count = 8000
    frequencies = torch.bincount(torch.tensor(drawn(logits, temperature, top_p, count)), minlength=5) / count
    assert ((frequencies - expected).abs() < 4 * (expected * (1 - expected) / count).sqrt()).all()


def test_top_p_keeps_the_smallest_set_that_reaches_it() -> None:
    logits = torch.tensor([0.1, 0.4, 0.2, 0.3]).log()
    assert set(drawn(logits, 1.0, 0.3, 300)) == {1}
    assert set(drawn(logits, 1.0, 0.6, 300)) == {1, 3}
    assert set(drawn(logits, 1.0, 0.75, 300)) == {1, 3, 2}
    assert set(drawn(logits, 1.0, 1.0, 300)) == {0, 1, 2, 3}


def test_what_has_no_probability_is_never_drawn() -> None:
    logits = torch.tensor([float("-inf"), 0.0, float("-inf"), 0.0, float("-inf")])
    samplings = [Sampling(1.0, 1.0, 0)] * 3
    assert next_tokens(logits.expand(3, -1), samplings, [0.0, 0.5, 1.0 - 2**-53]) == [1, 3, 3]
