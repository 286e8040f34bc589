"""What a pilot says about noise: textbook intervals, and by how often they cover the truth."""

import math

import numpy as np
import pytest

from llamalab.analysis.statistics.pilot import (
    mean_rho,
    pair_seeds,
    pilot,
    repeat_difference,
    seed_correlation,
    seed_spread,
)


def test_spread_interval_from_tables():
    """n = 10: chi-square quantiles of 9 degrees of freedom are 2.700 and 19.023."""
    values = np.array([3.1, 3.4, 3.2, 3.5, 3.3, 3.2, 3.6, 3.0, 3.3, 3.4])
    found = seed_spread(dict(enumerate(values)), 0.95)
    sd = values.std(ddof=1)
    assert (found.n, found.sd) == (10, pytest.approx(sd))
    assert found.low == pytest.approx(sd * math.sqrt(9 / 19.023), rel=1e-3)
    assert found.high == pytest.approx(sd * math.sqrt(9 / 2.700), rel=1e-3)


def test_spread_and_correlation_intervals_cover_the_truth():
    random, sd_covered, rho_covered, studies = np.random.default_rng(0), 0, 0, 1000
    for _ in range(studies):
        both = random.multivariate_normal([3.7, 3.8], [[4e-6, 2e-6], [2e-6, 4e-6]], size=8)
        arm, baseline = (dict(enumerate(side)) for side in both.T)
        spread, rho = seed_spread(arm, 0.95), seed_correlation(arm, baseline, 0.95)
        sd_covered += spread.low <= 0.002 <= spread.high
        rho_covered += rho.low <= 0.5 <= rho.high
    assert sd_covered / studies == pytest.approx(0.95, abs=0.02)
    assert rho_covered / studies == pytest.approx(0.95, abs=0.025)


def test_correlation_over_shared_seeds_by_fisher():
    arm = {0: 1.0, 1: 2.0, 2: 3.0, 3: 5.0, 4: 4.0, 7: -50.0}
    baseline = {4: 5.0, 3: 4.0, 2: 3.0, 1: 2.0, 0: 1.0, 9: 80.0}
    found = seed_correlation(arm, baseline, 0.95)
    assert (found.n, found.rho) == (5, pytest.approx(0.9))
    half = 1.959964 / math.sqrt(5 - 3)
    assert (found.low, found.high) == pytest.approx(
        (math.tanh(math.atanh(0.9) - half), math.tanh(math.atanh(0.9) + half))
    )


@pytest.mark.parametrize("arm", [{}, {0: 3.7, 1: 3.8}, {0: 3.7, 1: 3.7, 2: 3.7, 3: 3.7}])
def test_no_correlation_without_data(arm):
    found = seed_correlation(arm, {0: 3.1, 1: 3.3, 2: 3.2, 3: 3.0}, 0.95)
    assert math.isnan(found.rho)
    assert not pair_seeds({"arm": found}, 0.3)


def test_three_seeds_have_a_rho_without_interval():
    found = seed_correlation({0: 1.0, 1: 2.0, 2: 4.0}, {0: 1.0, 1: 3.0, 2: 2.0}, 0.95)
    assert math.isfinite(found.rho)
    assert math.isnan(found.low)


def test_pairing_needs_the_mean_rho_to_reach_the_threshold():
    base = {seed: float(seed) for seed in range(5)}
    arms = {"same": base, "opposite": {seed: -value for seed, value in base.items()}, "unknown": {0: 1.0}}
    found = {name: seed_correlation(arm, base, 0.95) for name, arm in arms.items()}
    assert mean_rho(found) == pytest.approx(0.0)
    assert not pair_seeds(found, 0.3)
    assert pair_seeds({"same": found["same"]}, 0.3)
    assert not pair_seeds({}, 0.3)


def test_repeats():
    found = repeat_difference({0: 3.5, 1: 3.6, 2: 3.7}, {1: 3.603, 0: 3.496, 5: 9.9})
    assert (found.n, found.largest) == (2, pytest.approx(0.004))
    assert found.sd == pytest.approx(math.sqrt((0.003**2 + 0.004**2) / 2 / 2))
    assert repeat_difference({0: 3.5}, {0: 3.5}).largest == 0
    assert math.isnan(repeat_difference({0: 3.5}, {}).sd)


def test_repeats_measure_the_scatter_of_one_run():
    random = np.random.default_rng(1)
    means = random.normal(3.7, 0.01, 20_000)
    first, second = (dict(enumerate(means + random.normal(0, 0.001, len(means)))) for _ in range(2))
    assert repeat_difference(first, second).sd == pytest.approx(0.001, rel=0.02)


def test_pilot_puts_it_together():
    baseline = {seed: 3.7 + 0.001 * seed for seed in range(8)}
    other = {seed: value + 0.01 for seed, value in baseline.items()}
    found = pilot(baseline, {"other": other}, diverged=2, repeats={0: 3.7}, pair_from=0.3, confidence=0.95)
    assert found.paired
    assert found.mean_rho == pytest.approx(1)
    assert (found.divergence.diverged, found.divergence.runs) == (2, 10)
    assert found.spread == seed_spread(baseline, 0.95)
    assert (found.repeats.n, found.repeats.largest) == (1, 0)
