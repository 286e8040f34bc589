"""Diverged runs are an outcome: how often, and more often than in the baseline?"""

import math
from dataclasses import dataclass

from scipy import stats
from statsmodels.stats.proportion import proportion_confint


@dataclass(frozen=True)
class Rate:
    """Runs that diverged among those that ended, with the exact interval of Clopper and Pearson (1934).

    NaN rate and interval without runs.
    """

    diverged: int
    runs: int
    rate: float
    low: float
    high: float


@dataclass(frozen=True)
class Divergence:
    """How often an arm and the baseline diverged; `p_value` is Fisher's exact test (two-sided) for equal rates."""

    arm: Rate
    baseline: Rate
    p_value: float


def divergence_rate(diverged: int, runs: int, confidence: float) -> Rate:
    """The rate with its Clopper-Pearson interval (statsmodels).

    Args:
        diverged: runs that diverged.
        runs: runs that ended, finished or diverged.
        confidence: coverage of the interval, at least (the exact interval is cautious).

    Raises:
        ValueError: not 0 <= diverged <= runs.
    """
    if not 0 <= diverged <= runs:
        raise ValueError(f"{diverged} of {runs} runs diverged: a count lies between none and all")
    if not runs:
        return Rate(0, 0, math.nan, math.nan, math.nan)
    low, high = proportion_confint(diverged, runs, alpha=1 - confidence, method="beta")
    return Rate(diverged, runs, diverged / runs, float(low), float(high))


def compare_divergence(arm: Rate, baseline: Rate) -> Divergence:
    """Fisher's exact test of the two counts (scipy). p is NaN if a side has no runs, 1 if nothing diverged."""
    if not arm.runs or not baseline.runs:
        return Divergence(arm, baseline, math.nan)
    if not arm.diverged + baseline.diverged:
        return Divergence(arm, baseline, 1.0)
    table = [[side.diverged, side.runs - side.diverged] for side in (arm, baseline)]
    return Divergence(arm, baseline, float(stats.fisher_exact(table).pvalue))
