"""Batches by length: every sequence once, within the budget, longest first."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from llamalab.evaluation.batching import by_length, pass_tokens


@given(st.lists(st.integers(1, 300), max_size=60), st.integers(1, 2000))
def test_every_sequence_is_in_one_batch_within_the_budget(lengths: list[int], batch_tokens: int) -> None:
    batches = by_length(lengths, batch_tokens)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        padded = len(batch) * max(lengths[index] for index in batch)
        assert padded <= batch_tokens or len(batch) == 1
    in_order = [lengths[index] for batch in batches for index in batch]
    assert in_order == sorted(lengths, reverse=True)


def test_equal_lengths_fill_a_batch() -> None:
    assert [len(batch) for batch in by_length([10] * 40, 160)] == [16, 16, 8]


def test_a_cpu_takes_small_passes() -> None:
    assert pass_tokens(4096, torch.device("cpu")) < pass_tokens(4096, torch.device("cuda")) == 4096
    assert pass_tokens(7, torch.device("cpu")) == 7
