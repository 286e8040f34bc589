"""The verdict rule, case by case. Calibration is in test_statistics_calibration.py."""

import math
from dataclasses import replace

import pytest

from llamalab.analysis.statistics import Declaration, Outcomes, Verdict, holm, judge
from llamalab.common.errors import UserError

SCATTER = [-0.0016, -0.0007, 0.0002, 0.0009, 0.0012]  # sums to zero; sd 0.0012
DECLARED = Declaration(family=("arm",), paired=False, margin=0.01, alpha=0.05, power=0.8, baseline_per_arm=2)
BASELINE = Outcomes(dict(enumerate(3.7 + s for s in [*SCATTER, *SCATTER])), diverged=0)


def arm(difference, scale=1.0, diverged=0, n=5):
    return Outcomes({seed: 3.7 + difference + scale * SCATTER[seed] for seed in range(n)}, diverged)


def one(outcomes, baseline=BASELINE, **changes):
    return judge({"arm": outcomes}, baseline, replace(DECLARED, **changes))["arm"]


@pytest.mark.parametrize(("difference", "expected"), [(0.03, Verdict.WORSE), (-0.03, Verdict.BETTER)])
def test_a_large_difference_has_the_sign_of_its_estimate(difference, expected):
    found = one(arm(difference))
    assert found.verdict == expected
    assert found.adjusted_p == found.comparison.p_value < 0.05
    assert found.seeds_to_resolve is None
    assert f"{difference:+.2g}" in found.reason


def test_no_difference_within_the_margin_is_equivalent():
    found = one(arm(0.0001))
    assert found.verdict == Verdict.EQUIVALENT
    assert found.equivalence.p_value < 0.05 < found.adjusted_p
    assert "resolved" not in found.reason


@pytest.mark.parametrize(("difference", "word"), [(0.004, "worse"), (-0.004, "better")])
def test_resolved_but_within_the_margin_is_equivalent_and_says_which_way(difference, word):
    found = one(arm(difference))
    assert found.adjusted_p < 0.05
    assert found.verdict == Verdict.EQUIVALENT
    assert f"{difference:+.2g} is resolved ({word})" in found.reason


def test_without_a_margin_nothing_is_equivalent():
    found = one(arm(0.004), margin=None)
    assert found.verdict == Verdict.WORSE
    assert found.equivalence is None
    assert one(arm(0.0001), margin=None).verdict == Verdict.INCONCLUSIVE


def test_inconclusive_says_how_many_seeds_it_would_take():
    found = one(arm(0.006, scale=9))
    assert found.verdict == Verdict.INCONCLUSIVE
    assert found.seeds_to_resolve > 5
    assert found.seeds_to_equate > 5
    assert f"about {found.seeds_to_resolve} seeds per arm to resolve it or {found.seeds_to_equate}" in found.reason
    assert "includes zero" in found.reason
    beyond = one(arm(0.011, scale=9))
    assert beyond.seeds_to_equate is None


def test_holm_can_take_back_a_difference_that_stands_alone():
    arms = {"arm": arm(0.0018)} | {name: arm(0.0) for name in "abcd"}
    alone = one(arms["arm"], margin=None)
    together = judge(arms, BASELINE, replace(DECLARED, family=tuple(arms), margin=None))["arm"]
    assert (alone.verdict, together.verdict) == (Verdict.WORSE, Verdict.INCONCLUSIVE)
    assert together.comparison.p_value == alone.comparison.p_value < 0.05
    assert together.adjusted_p == pytest.approx(5 * alone.adjusted_p)
    assert "resolved on its own" in together.reason


def test_diverging_more_often_is_worse_whatever_the_survivors_say():
    found = one(arm(-0.03, diverged=4, n=2))
    assert found.adjusted_divergence_p < 0.05
    assert found.verdict == Verdict.WORSE
    assert "4 of 6 runs, baseline 0 of 10" in found.reason


def test_an_arm_that_always_diverges_has_no_losses_and_is_worse():
    found = one(arm(0, diverged=5, n=0))
    assert found.verdict == Verdict.WORSE
    assert math.isnan(found.comparison.difference.estimate)
    assert math.isnan(found.adjusted_p)


def test_one_diverged_run_is_said_but_decides_nothing():
    found = one(arm(0.03, diverged=1, n=4))
    assert found.verdict == Verdict.WORSE
    assert "diverged: 1 of 5 runs, baseline 0 of 10" in found.reason
    assert found.adjusted_divergence_p > 0.05


def test_a_baseline_that_diverges_more_makes_no_arm_better():
    baseline = Outcomes({0: 3.7, 1: 3.701}, diverged=8)
    found = one(arm(0.0), baseline)
    assert found.adjusted_divergence_p < 0.05
    assert found.verdict != Verdict.BETTER
    assert "baseline 8 of 10" in found.reason


def test_divergence_is_adjusted_over_the_family():
    arms = {"arm": arm(0, diverged=3, n=2)} | {name: arm(0.0) for name in "abcd"}
    assert one(arms["arm"]).verdict == Verdict.WORSE  # Fisher p 0.022 alone
    found = judge(arms, BASELINE, replace(DECLARED, family=tuple(arms)))
    assert found["arm"].adjusted_divergence_p == pytest.approx(5 * 10 / 455)
    assert found["arm"].verdict != Verdict.WORSE


def test_an_undeclared_arm_gets_an_estimate_and_no_p_value():
    found = judge({"arm": arm(0.0), "later": arm(0.03)}, BASELINE, DECLARED)["later"]
    assert found.verdict == Verdict.NOT_TESTED
    assert found.adjusted_p is None
    assert found.adjusted_divergence_p is None
    assert math.isnan(found.comparison.p_value)
    assert math.isnan(found.divergence.p_value)
    assert found.comparison.difference.estimate == pytest.approx(0.03)
    assert found.comparison.difference.has_interval
    assert "not in the declared family" in found.reason


def test_undeclared_arms_do_not_weaken_the_declared_ones():
    alone = one(arm(0.0018))
    beside = judge({"arm": arm(0.0018), "later": arm(0.03)}, BASELINE, DECLARED)["arm"]
    assert beside == alone


def test_a_family_of_unknown_arms_is_refused():
    with pytest.raises(UserError, match="family: ghost"):
        judge({"arm": arm(0.0)}, BASELINE, replace(DECLARED, family=("arm", "ghost")))


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_seeds_are_inconclusive(n):
    found = one(arm(0.03, n=n))
    assert found.verdict == Verdict.INCONCLUSIVE
    assert math.isnan(found.adjusted_p)
    assert found.seeds_to_resolve is None


def test_an_arm_still_to_run_counts_in_the_family():
    declared = replace(DECLARED, family=("arm", "late"), margin=None)
    found = judge({"arm": arm(0.0018), "late": arm(0, n=0)}, BASELINE, declared)
    p = found["arm"].comparison.p_value
    assert found["arm"].adjusted_p == pytest.approx(2 * p) == holm({"arm": p}, ["arm", "late"])["arm"]


def test_pairing_uses_what_seeds_share():
    """Seeds differ by 0.1, the arm by 0.004 in every seed: only the paired test can see it."""
    noise = [0.0, 0.1, 0.2, 0.3, 0.4]
    baseline = Outcomes({seed: 3.5 + noise[seed] for seed in range(5)}, 0)
    shifted = Outcomes({seed: 3.504 + noise[seed] + SCATTER[seed] for seed in range(5)}, 0)
    assert one(shifted, baseline, paired=False, margin=None).verdict == Verdict.INCONCLUSIVE
    found = one(shifted, baseline, paired=True, margin=None)
    assert found.verdict == Verdict.WORSE
    assert found.comparison.paired
