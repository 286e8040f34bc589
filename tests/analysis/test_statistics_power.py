"""Minimum detectable differences and seeds: published solvers, inverses of each other, and simulation."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestIndPower, TTestPower

from llamalab.analysis.statistics.power import (
    Paired,
    Unpaired,
    minimum_detectable,
    seeds_to_detect,
    seeds_to_equate,
)

USUAL = {"alpha": 0.05, "power": 0.8}


@pytest.mark.parametrize(
    ("n", "unpaired", "rho_0", "rho_5", "rho_8"),
    [
        (3, 3.1, 4.6, 3.3, 2.1),
        (4, 2.4, 3.0, 2.1, 1.35),
        (5, 2.0, 2.4, 1.7, 1.1),
        (8, 1.5, 1.6, 1.2, 0.73),
        (10, 1.3, 1.4, 1.0, 0.63),
    ],
)
def test_detectable_differences_in_standard_deviations(n, unpaired, rho_0, rho_5, rho_8):
    """The figures that studies are planned with, as docs/statistics.md prints them."""
    found = minimum_detectable(Unpaired(1, 1), n, n, **USUAL)
    assert found == pytest.approx(unpaired, abs=0.05)
    for rho, expected in ((0, rho_0), (0.5, rho_5), (0.8, rho_8)):
        digits = 0.005 if round(expected, 1) != expected else 0.05
        found = minimum_detectable(Paired.correlated(1, 1, rho), n, n, **USUAL)
        assert found == pytest.approx(expected, abs=1.01 * digits)


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_matches_statsmodels_solvers(n):
    equal = TTestIndPower().solve_power(nobs1=n, **USUAL)
    assert minimum_detectable(Unpaired(0.01, 0.01), n, n, **USUAL) == pytest.approx(0.01 * equal, rel=1e-4)
    paired = TTestPower().solve_power(nobs=n, **USUAL)
    assert minimum_detectable(Paired(0.01), n, n, **USUAL) == pytest.approx(0.01 * paired, rel=1e-4)


def test_extra_baseline_seeds_help_as_much_as_welch_allows():
    """1.66 sd is what a pooled variance would detect with 5 and 10 seeds; Welch's test needs 1.75, as it does."""
    pooled = TTestIndPower().solve_power(nobs1=5, ratio=2, **USUAL)
    found = minimum_detectable(Unpaired(1, 1), 5, 10, **USUAL)
    assert pooled == pytest.approx(1.66, abs=0.005)
    assert found == pytest.approx(1.75, abs=0.005)
    random = np.random.default_rng(0)
    arm, baseline = random.normal(size=(40_000, 5)), random.normal(size=(40_000, 10))
    p = {d: stats.ttest_ind(arm + d, baseline, equal_var=False, axis=1).pvalue for d in (found, pooled)}
    assert np.mean(p[found] < 0.05) == pytest.approx(0.79, abs=0.01)
    assert np.mean(p[pooled] < 0.05) < 0.76


@pytest.mark.parametrize(("sds", "ns"), [((0.02, 0.005), (5, 10)), ((0.003, 0.01), (8, 4))])
def test_unequal_spreads_by_simulation(sds, ns):
    found = minimum_detectable(Unpaired(*sds), *ns, **USUAL)
    random = np.random.default_rng(1)
    arm, baseline = (random.normal(scale=sd, size=(20_000, n)) for sd, n in zip(sds, ns, strict=True))
    power = np.mean(stats.ttest_ind(arm + found, baseline, equal_var=False, axis=1).pvalue < 0.05)
    assert power == pytest.approx(0.8, abs=0.025)  # Satterthwaite's degrees of freedom are an approximation


@pytest.mark.parametrize("alpha", [0.05, 0.01, 0.001])
@pytest.mark.parametrize("noise", [Unpaired(1, 1), Paired(1)])
def test_two_seeds_detect_something(noise, alpha):
    """Far tails of the noncentral t must not become NaN."""
    found = minimum_detectable(noise, 2, 2, alpha=alpha, power=0.9)
    assert math.isfinite(found)
    assert found > minimum_detectable(noise, 3, 3, alpha=alpha, power=0.9)


@pytest.mark.parametrize("noise", [Unpaired(0.01, 0.01), Unpaired(0.02, 0.003), Paired(0.008)])
@pytest.mark.parametrize("difference", [0.1, 0.02, 0.01, -0.005, 0.001])
def test_seeds_are_the_fewest_that_detect_the_difference(noise, difference):
    n = seeds_to_detect(noise, difference, baseline_per_arm=2, **USUAL)
    assert n is not None
    assert minimum_detectable(noise, n, 2 * n, **USUAL) <= abs(difference)
    if n > 2:
        assert minimum_detectable(noise, n - 1, 2 * (n - 1), **USUAL) > abs(difference)


@pytest.mark.parametrize("true_difference", [0.0, 0.004, -0.004])
@pytest.mark.parametrize("noise", [Unpaired(0.01, 0.01), Unpaired(0.015, 0.004)])
def test_seeds_to_equate_by_simulation(noise, true_difference):
    """With the seeds it says, TOST finds equivalence about as often as it should; with fewer, less often."""
    n = seeds_to_equate(noise, true_difference, 0.01, baseline_per_arm=2, **USUAL)
    assert n is not None

    def power(n):
        random = np.random.default_rng(2)
        arm = random.normal(true_difference, noise.sd_arm, (20_000, n))
        baseline = random.normal(0, noise.sd_baseline, (20_000, 2 * n))
        p = [
            stats.ttest_ind(arm + shift, baseline, equal_var=False, axis=1, alternative=side).pvalue
            for shift, side in ((0.01, "greater"), (-0.01, "less"))
        ]
        return np.mean(np.maximum(*p) < 0.05)

    assert power(n - 2) < 0.8
    assert power(n) == pytest.approx(0.8, abs=0.04)


def test_what_no_number_of_seeds_can_show():
    plan = {"baseline_per_arm": 2} | USUAL
    assert seeds_to_detect(Unpaired(1, 1), 0.0, **plan) is None
    assert seeds_to_detect(Unpaired(1, 1), math.nan, **plan) is None
    assert seeds_to_detect(Unpaired(1, 1), 1e-3, **plan) is None  # millions
    assert seeds_to_detect(Unpaired(0, 0), 1.0, **plan) is None
    assert seeds_to_detect(Paired(math.nan), 1.0, **plan) is None
    assert seeds_to_equate(Unpaired(1, 1), 0.02, 0.01, **plan) is None
    assert seeds_to_equate(Unpaired(1, 1), -0.01, 0.01, **plan) is None


@pytest.mark.parametrize(("n_arm", "n_baseline"), [(1, 5), (5, 1), (0, 0)])
def test_one_seed_detects_nothing(n_arm, n_baseline):
    assert math.isnan(minimum_detectable(Unpaired(1, 1), n_arm, n_baseline, **USUAL))


def test_correlation_shrinks_the_spread_of_the_difference():
    shared = np.random.default_rng(3).multivariate_normal([0, 0], [[4, 1.8], [1.8, 1]], size=200_000)
    expected = np.std(shared[:, 0] - shared[:, 1])
    assert Paired.correlated(2, 1, 0.9).sd_difference == pytest.approx(expected, rel=0.01)
    assert Paired.correlated(0.1 + 0.2, 0.3, 1.0).sd_difference == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize(("baseline_seeds", "rho"), [(5, 0.28), (10, 0.46)])
def test_pairing_pays_from_a_correlation_that_extra_baseline_seeds_raise(baseline_seeds, rho):
    """With five seeds an arm; docs/statistics.md says 0.3 and 0.45."""
    unpaired = minimum_detectable(Unpaired(1, 1), 5, baseline_seeds, **USUAL)
    assert minimum_detectable(Paired.correlated(1, 1, rho), 5, 5, **USUAL) == pytest.approx(unpaired, rel=0.01)
