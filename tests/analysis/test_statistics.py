"""Differences of means against their formula, against scipy, and by how often their intervals cover the truth."""

import math

import numpy as np
import pytest
from scipy import stats

from llamalab.analysis.statistics import compare, welch_difference

ARM, BASELINE = [3.71, 3.74, 3.69, 3.73], [3.66, 3.65, 3.67]


def test_matches_the_textbook_formula():
    x, y = np.array(ARM), np.array(BASELINE)
    a, b = x.var(ddof=1) / len(x), y.var(ddof=1) / len(y)
    freedom = (a + b) ** 2 / (a**2 / (len(x) - 1) + b**2 / (len(y) - 1))
    half = stats.t.ppf(0.975, freedom) * math.sqrt(a + b)
    found = welch_difference(ARM, BASELINE, 0.95)
    assert found.estimate == pytest.approx(x.mean() - y.mean(), rel=1e-12)
    assert found.low == pytest.approx(found.estimate - half, rel=1e-9)
    assert found.high == pytest.approx(found.estimate + half, rel=1e-9)


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_matches_scipy(confidence):
    test = stats.ttest_ind(ARM, BASELINE, equal_var=False)
    found = welch_difference(ARM, BASELINE, confidence)
    assert (found.low, found.high) == pytest.approx(test.confidence_interval(confidence), rel=1e-9)
    comparison = compare(dict(enumerate(ARM)), dict(enumerate(BASELINE)), paired=False, confidence=confidence)
    assert comparison.difference == found
    assert (comparison.p_value, comparison.freedom) == pytest.approx((test.pvalue, test.df), rel=1e-9)


def test_swapping_the_sides_mirrors_the_interval():
    forth, back = welch_difference(ARM, BASELINE, 0.95), welch_difference(BASELINE, ARM, 0.95)
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low))


@pytest.mark.parametrize(
    ("arm", "baseline"), [([3.7], [3.6, 3.65]), ([3.7, 3.8], [3.6]), ([3.7], [3.6]), ([3.7, 3.7], [3.6, 3.6])]
)
def test_no_interval_without_spread(arm, baseline):
    found = welch_difference(arm, baseline, 0.95)
    assert not found.has_interval
    assert found.estimate == pytest.approx(np.mean(arm) - np.mean(baseline))


@pytest.mark.parametrize(("arm", "baseline"), [([], [3.6, 3.65]), ([3.6, 3.7], [])])
def test_nothing_to_compare(arm, baseline):
    assert math.isnan(welch_difference(arm, baseline, 0.95).estimate)


def test_covers_the_truth_as_often_as_it_says():
    """Two arms of three seeds whose noise differs by a factor of two: 95% intervals, 1,500 studies."""
    random = np.random.default_rng(0)
    truth, covered, studies = 0.02, 0, 1500
    for _ in range(studies):
        found = welch_difference(3.6 + truth + random.normal(0, 0.01, 3), 3.6 + random.normal(0, 0.005, 3), 0.95)
        covered += found.low <= truth <= found.high
    # Welch is slightly cautious with so few seeds; the binomial's own error here is 0.6%.
    assert 0.935 <= covered / studies <= 0.985


SEEDS_ARM = {0: 3.71, 1: 3.74, 2: 3.69, 3: 3.73}
SEEDS_BASELINE = {9: 3.4, 3: 3.71, 1: 3.72, 0: 3.66, 2: 3.68, 8: 3.9}  # another order, and two seeds of its own


def test_paired_takes_the_seeds_that_both_have():
    x, y = [[side[seed] for seed in range(4)] for side in (SEEDS_ARM, SEEDS_BASELINE)]
    test = stats.ttest_rel(x, y)
    found = compare(SEEDS_ARM, SEEDS_BASELINE, paired=True, confidence=0.9)
    assert (found.n_arm, found.n_baseline, found.paired) == (4, 4, True)
    assert found.difference.estimate == pytest.approx(np.mean(np.subtract(x, y)))
    assert (found.difference.low, found.difference.high) == pytest.approx(test.confidence_interval(0.9), rel=1e-9)
    assert (found.p_value, found.freedom) == pytest.approx((test.pvalue, 3), rel=1e-9)
    assert found.sd_difference == pytest.approx(np.std(np.subtract(x, y), ddof=1))


def test_unpaired_takes_every_seed():
    found = compare(SEEDS_ARM, SEEDS_BASELINE, paired=False, confidence=0.95)
    assert (found.n_arm, found.n_baseline) == (4, 6)
    assert found.difference.estimate == pytest.approx(np.mean(ARM) - np.mean(list(SEEDS_BASELINE.values())))
    assert found.sd_baseline == pytest.approx(np.std(list(SEEDS_BASELINE.values()), ddof=1))
    assert math.isnan(found.sd_difference)


def test_paired_differences_that_agree_up_to_rounding_have_no_interval():
    """3.7 - 3.6 and 3.8 - 3.7 differ in the last bits of float64, which would make an absurdly sure interval."""
    found = compare({0: 3.7, 1: 3.8, 2: 4.1}, {0: 3.6, 1: 3.7, 2: 4.0}, paired=True, confidence=0.95)
    assert found.difference.estimate == pytest.approx(0.1)
    assert not found.difference.has_interval
    assert math.isnan(found.p_value)


def test_no_shared_seeds_is_nothing_to_compare():
    found = compare({0: 3.7, 1: 3.8}, {2: 3.6, 3: 3.7}, paired=True, confidence=0.95)
    assert (found.n_arm, found.n_baseline) == (0, 0)
    assert math.isnan(found.difference.estimate)
