"""TOST: its p value against its definition, and that it agrees with its interval."""

import math

import numpy as np
import pytest
from scipy import stats

from llamalab.analysis.statistics import equivalence
from llamalab.common.errors import UserError

ARM = {0: 3.702, 1: 3.707, 2: 3.699, 3: 3.705, 4: 3.701}
BASELINE = {0: 3.701, 1: 3.703, 2: 3.700, 3: 3.704, 4: 3.698, 5: 3.706, 6: 3.702}


def test_unpaired_p_is_the_larger_of_two_one_sided_welch_tests():
    x, y = np.array(list(ARM.values())), np.array(list(BASELINE.values()))
    lower = stats.ttest_ind(x + 0.005, y, equal_var=False, alternative="greater").pvalue
    upper = stats.ttest_ind(x - 0.005, y, equal_var=False, alternative="less").pvalue
    found = equivalence(ARM, BASELINE, margin=0.005, paired=False, alpha=0.05)
    assert found.p_value == pytest.approx(max(lower, upper), rel=1e-6)


def test_paired_p_is_the_larger_of_two_one_sided_tests_of_the_shared_seeds():
    d = np.array([ARM[seed] - BASELINE[seed] for seed in ARM])
    lower = stats.ttest_1samp(d, -0.005, alternative="greater").pvalue
    upper = stats.ttest_1samp(d, 0.005, alternative="less").pvalue
    found = equivalence(ARM, BASELINE, margin=0.005, paired=True, alpha=0.05)
    assert found.p_value == pytest.approx(max(lower, upper), rel=1e-6)


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("margin", [0.001, 0.002, 0.003, 0.004, 0.005, 0.01])
@pytest.mark.parametrize("alpha", [0.01, 0.05])
def test_significant_exactly_when_the_interval_lies_within_the_margin(paired, margin, alpha):
    found = equivalence(ARM, BASELINE, margin=margin, paired=paired, alpha=alpha)
    assert (found.p_value < alpha) == (-margin < found.difference.low and found.difference.high < margin)


def test_the_interval_covers_one_minus_two_alpha():
    x, y = list(ARM.values()), list(BASELINE.values())
    found = equivalence(ARM, BASELINE, margin=0.005, paired=False, alpha=0.05)
    expected = stats.ttest_ind(x, y, equal_var=False).confidence_interval(0.9)
    assert (found.difference.low, found.difference.high) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("arm", "baseline"), [({0: 3.7}, BASELINE), ({}, BASELINE), ({0: 3.7, 1: 3.7}, {0: 3.7, 1: 3.7})]
)
def test_too_little_data_is_no_equivalence(arm, baseline):
    assert math.isnan(equivalence(arm, baseline, margin=0.01, paired=False, alpha=0.05).p_value)


@pytest.mark.parametrize("margin", [0.0, -0.01, math.nan])
def test_a_margin_is_positive(margin):
    with pytest.raises(UserError, match="margin"):
        equivalence(ARM, BASELINE, margin=margin, paired=False, alpha=0.05)
