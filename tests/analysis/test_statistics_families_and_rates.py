"""Holm over the declared family, and diverged runs as counts."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from llamalab.analysis.statistics import compare_divergence, divergence_rate, holm
from llamalab.common.errors import UserError


def test_holm_is_that_of_statsmodels_to_the_bit():
    generator = np.random.default_rng(0)
    for size in range(1, 12):
        p = generator.choice([*generator.uniform(size=size), 0.01, 0.01, 1.0], size=size)  # with ties
        arms = [f"arm{number}" for number in range(size)]
        assert list(holm(dict(zip(arms, p, strict=True)), arms).values()) == list(multipletests(p, method="holm")[1])


def test_holm_by_hand():
    """Sorted p times 3, 2, 1, never falling, never above one."""
    assert holm({"a": 0.04, "b": 0.01, "c": 0.03}, ["a", "b", "c"]) == pytest.approx({"a": 0.06, "b": 0.03, "c": 0.06})
    assert holm({"a": 0.9, "b": 0.8}, ["a", "b"]) == {"a": 1.0, "b": 1.0}
    assert holm({"a": 0.04}, ["a"]) == pytest.approx({"a": 0.04})
    assert holm({}, []) == {}


def test_the_family_keeps_its_declared_size():
    """Arms that were not run, or lost their runs, do not make the others more significant."""
    found = holm({"a": 0.01, "b": math.nan}, ["a", "b", "c"])
    assert found["a"] == pytest.approx(0.03)
    assert math.isnan(found["b"])
    assert math.isnan(found["c"])


def test_an_undeclared_arm_gets_no_p_value():
    with pytest.raises(UserError, match="family: d is not in it"):
        holm({"a": 0.01, "d": 0.001}, ["a", "b"])


def test_a_family_names_each_arm_once():
    with pytest.raises(UserError, match="once"):
        holm({"a": 0.01}, ["a", "a"])


@pytest.mark.parametrize(("diverged", "runs"), [(0, 5), (1, 5), (3, 8), (5, 5), (2, 40)])
def test_rate_matches_scipy(diverged, runs):
    expected = stats.binomtest(diverged, runs).proportion_ci(0.95, method="exact")
    found = divergence_rate(diverged, runs, 0.95)
    assert found.rate == diverged / runs
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-6)


def test_no_diverged_run_of_n_is_the_closed_form():
    """0 of n: the upper limit p solves (1 - p)^n = 0.025."""
    assert divergence_rate(0, 5, 0.95).high == pytest.approx(1 - 0.025 ** (1 / 5), rel=1e-9)


def test_no_runs_no_rate():
    none = divergence_rate(0, 0, 0.95)
    assert math.isnan(none.rate)
    assert math.isnan(none.low)
    assert math.isnan(compare_divergence(none, divergence_rate(0, 5, 0.95)).p_value)


@pytest.mark.parametrize(("diverged", "runs"), [(-1, 5), (6, 5)])
def test_counts_are_possible(diverged, runs):
    with pytest.raises(ValueError, match="diverged"):
        divergence_rate(diverged, runs, 0.95)


def test_fisher_by_counting():
    """3 of 5 against 0 of 10: of the 455 ways to draw 3 of 15, 10 are all in the arm, and none is as rare."""
    found = compare_divergence(divergence_rate(3, 5, 0.95), divergence_rate(0, 10, 0.95))
    assert found.p_value == pytest.approx(10 / 455)


def test_nothing_diverged_is_no_evidence():
    assert compare_divergence(divergence_rate(0, 5, 0.95), divergence_rate(0, 10, 0.95)).p_value == 1
    assert stats.fisher_exact([[0, 5], [0, 10]]).pvalue == 1
