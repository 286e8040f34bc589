from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamalab.common.errors import UserError
from llamalab.data.mixture import Mixture, block_counts, renormalised

TABLE_1 = {
    "CommonCrawl": 67.0,
    "C4": 15.0,
    "GitHub": 4.5,
    "Wikipedia": 4.5,
    "Books": 4.5,
    "ArXiv": 2.5,
    "StackExchange": 2.0,
}

mixtures = st.builds(
    lambda sizes, weights, seed: Mixture(
        {f"s{i}": size for i, size in enumerate(sizes)},
        renormalised({f"s{i}": weight for i, weight in enumerate(weights)}, {}),
        seed,
    ),
    sizes=st.lists(st.integers(1, 40), min_size=3, max_size=3),
    weights=st.lists(st.integers(1, 9), min_size=3, max_size=3),
    seed=st.integers(0, 2**31),
)


def drawn(mixture: Mixture, count: int) -> list[tuple[int, int]]:
    sources, windows = mixture.at(np.arange(count))
    return list(zip(sources.tolist(), windows.tolist(), strict=True))


def test_table_1_without_stack_exchange() -> None:
    proportions = renormalised(TABLE_1, {"StackExchange": "no dump"})
    assert sum(proportions.values()) == pytest.approx(1)
    assert proportions["CommonCrawl"] == pytest.approx(67 / 98)
    assert block_counts(proportions) == {
        "CommonCrawl": 134,
        "C4": 30,
        "GitHub": 9,
        "Wikipedia": 9,
        "Books": 9,
        "ArXiv": 5,
    }
    assert block_counts(renormalised(TABLE_1, {}))["StackExchange"] == 4  # of 200


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=8).filter(lambda weights: sum(weights) > 1e-3))
def test_any_proportions_fit_a_block(weights: list[float]) -> None:
    """Every count is within one sequence of its quota, and what is wanted at all is drawn."""
    proportions = renormalised({str(i): weight for i, weight in enumerate(weights)}, {})
    counts = block_counts(proportions)
    size = sum(counts.values())
    for name, share in proportions.items():
        assert (counts[name] > 0) == (share > 0)
        assert abs(counts[name] / size - share) <= 2e-3


@given(mixture=mixtures, start=st.integers(0, 10**12))
@settings(max_examples=50, deadline=None)
def test_every_block_hits_the_proportions_exactly(mixture: Mixture, start: int) -> None:
    first = start // mixture.block * mixture.block
    sources, _ = mixture.at(np.arange(first, first + mixture.block))
    assert Counter(sources.tolist()) == dict(enumerate(mixture.counts.tolist()))


@given(mixture=mixtures, numbers=st.lists(st.integers(0, 10**9), min_size=1, max_size=30))
@settings(max_examples=50, deadline=None)
def test_a_sequence_depends_on_its_number_only(mixture: Mixture, numbers: list[int]) -> None:
    together = mixture.at(np.array(numbers))
    fresh = Mixture(
        dict(zip(mixture.sources, mixture.windows.tolist(), strict=True)),
        dict(zip(mixture.sources, mixture.counts.tolist(), strict=True)),
        mixture.seed,
    )
    for place in reversed(range(len(numbers))):
        source, window = fresh.at(np.array(numbers[place : place + 1]))
        assert (source[0], window[0]) == (together[0][place], together[1][place])


@given(mixture=mixtures)
@settings(max_examples=50, deadline=None)
def test_every_epoch_of_a_source_is_a_permutation_of_its_windows(mixture: Mixture) -> None:
    draws = drawn(mixture, 6 * mixture.block + 5)
    for source, size in enumerate(mixture.windows.tolist()):
        windows = [window for origin, window in draws if origin == source]
        for epoch in range(len(windows) // size):
            assert sorted(windows[epoch * size : (epoch + 1) * size]) == list(range(size))


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = set()
    for seed in range(3):
        windows = [window for _, window in drawn(Mixture({"a": 50}, {"a": 1.0}, seed), 150)]
        orders |= {tuple(windows[start : start + 50]) for start in (0, 50, 100)}
    assert len(orders) == 9


def test_leaving_a_source_out_keeps_the_order_of_the_others() -> None:
    both = Mixture({"a": 20, "b": 20}, {"a": 0.5, "b": 0.5}, seed=3)
    alone = Mixture({"b": 20}, {"b": 1.0}, seed=3)
    assert [window for source, window in drawn(both, 40) if source == 1] == [w for _, w in drawn(alone, 20)]


def test_epochs_count_what_is_seen() -> None:
    mixture = Mixture({"a": 10, "b": 1000}, {"a": 0.2, "b": 0.8}, seed=0)
    assert mixture.epochs(100) == {"a": pytest.approx(2.0), "b": pytest.approx(0.08)}
    seen = Counter(source for source, _ in drawn(mixture, 100))
    assert Fraction(seen[0], 10) == 2


def test_a_source_of_no_weight_is_never_drawn_and_may_be_empty() -> None:
    mixture = Mixture({"a": 5, "b": 0}, {"a": 1.0, "b": 0.0}, seed=0)
    assert {source for source, _ in drawn(mixture, 50)} == {0}


@pytest.mark.parametrize(
    ("sampling", "empty", "key"),
    [
        ({"a": -1.0}, {}, "data.sampling.a"),
        ({"a": float("nan")}, {}, "data.sampling.a"),
        ({"a": 0.0}, {}, "data.sampling"),
        ({"a": 1.0}, {"a": "gone"}, "data.sampling"),
        ({"a": 1.0}, {"b": "gone"}, "data.empty_slots.b"),
    ],
)
def test_proportions_that_mean_nothing_are_refused(sampling: dict[str, float], empty: dict[str, str], key: str) -> None:
    with pytest.raises(UserError, match=key):
        renormalised(sampling, empty)


def test_a_wanted_source_without_a_window_is_refused() -> None:
    with pytest.raises(UserError, match=r"data\.sampling\.b"):
        Mixture({"a": 5, "b": 0}, {"a": 0.5, "b": 0.5}, seed=0)
