"""The estimator against its definition and against drawing at random."""

import itertools

import numpy as np
import pytest

from llamalab.evaluation.code.pass_at_k import pass_at_k


@pytest.mark.parametrize(("samples", "passed", "k"), [(5, 2, 1), (5, 2, 3), (6, 1, 4), (4, 0, 2), (4, 4, 1), (7, 5, 3)])
def test_it_is_the_share_of_all_ways_to_choose_k_that_hold_a_passing_one(samples: int, passed: int, k: int) -> None:
    outcomes = [index < passed for index in range(samples)]
    ways = [any(chosen) for chosen in itertools.combinations(outcomes, k)]
    assert pass_at_k(samples, passed, k) == pytest.approx(sum(ways) / len(ways))


def test_it_has_no_bias() -> None:
    # programs pass with probability p, so one of k does with 1 - (1 - p)^k, whatever n the estimate is made from
    p, samples, k = 0.1, 20, 10
    counts = np.random.default_rng(0).binomial(samples, p, size=20_000)
    estimates = np.array([pass_at_k(samples, int(count), k) for count in counts])
    assert estimates.mean() == pytest.approx(1 - (1 - p) ** k, abs=4 * estimates.std() / np.sqrt(len(estimates)))


def test_large_numbers_stay_exact() -> None:
    # Chen et al.'s own product form
    product = 1 - np.prod(1 - 100 / np.arange(200 - 3 + 1, 200 + 1))
    assert pass_at_k(200, 3, 100) == pytest.approx(product, rel=1e-12)
    assert pass_at_k(200, 101, 100) == 1.0
