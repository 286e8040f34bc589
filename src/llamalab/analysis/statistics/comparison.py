"""An arm against the baseline: the difference of means over seeds, its interval and its p value."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

Losses = Mapping[int, float]  # seed -> value of a run that finished

# Values closer than this, relative to their size, differ by float64 rounding only: they say nothing about the noise.
ROUNDING = 1e-12


@dataclass(frozen=True)
class Difference:
    """Mean of an arm minus mean of the baseline, in the unit of the values, with a confidence interval.

    `low` and `high` are NaN where the data cannot give an interval.
    """

    estimate: float
    low: float
    high: float

    @property
    def has_interval(self) -> bool:
        """Whether the data gave an interval."""
        return math.isfinite(self.low)


@dataclass(frozen=True)
class Comparison:
    """A t-test of an arm against the baseline.

    `p_value` is two-sided, for no difference. `n_arm` and `n_baseline` count the seeds that entered the test, so they
    are equal when paired. `sd_arm` and `sd_baseline` are sample standard deviations over those seeds, `sd_difference`
    that of the per-seed differences (NaN when unpaired). NaN wherever the data cannot say.
    """

    difference: Difference
    p_value: float
    freedom: float
    paired: bool
    n_arm: int
    n_baseline: int
    sd_arm: float
    sd_baseline: float
    sd_difference: float


def compare(arm: Losses, baseline: Losses, *, paired: bool, confidence: float) -> Comparison:
    """Difference of means with a t-interval and a two-sided p value (statsmodels).

    Unpaired: Welch's test, variances not assumed equal (Welch 1947), every seed of both sides. Paired: the t-test of
    the differences per seed, over the seeds that both sides have; seeds of one side only are left out.

    Args:
        arm: seed -> value, finished runs only; a diverged run has no value and is counted elsewhere (`divergence`).
        baseline: seed -> value, likewise.
        paired: whether the arms share what a seed decides (data order, initialisation), see `pilot.pair_seeds`.
        confidence: coverage of the interval, such as 0.95.

    Returns:
        NaN estimate if there is nothing to compare; no interval and no p value if a side has fewer than two values,
        or if nothing varies (identical values say nothing about the noise).
    """
    if paired:
        shared = sorted(arm.keys() & baseline.keys())
        x, y = (np.array([side[seed] for seed in shared], dtype=float) for side in (arm, baseline))
        return _paired(x, y, confidence)
    return _welch(np.array(list(arm.values()), dtype=float), np.array(list(baseline.values()), dtype=float), confidence)


def welch_difference(arm: Sequence[float], baseline: Sequence[float], confidence: float) -> Difference:
    """The unpaired difference of `compare` for values without seeds.

    Args:
        arm: one value per seed.
        baseline: one value per seed.
        confidence: coverage of the interval, such as 0.95.
    """
    return _welch(np.asarray(arm, dtype=float), np.asarray(baseline, dtype=float), confidence).difference


def varies(values: np.ndarray, size: float) -> bool:
    """Whether values differ by more than rounding, given the size of the numbers they were computed from."""
    return bool(len(values)) and float(np.ptp(values)) > ROUNDING * size


def sample_sd(values: np.ndarray) -> float:
    """Sample standard deviation (n - 1); NaN below two values."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def _welch(x: np.ndarray, y: np.ndarray, confidence: float) -> Comparison:
    estimate = float(x.mean() - y.mean()) if len(x) and len(y) else math.nan
    low = high = p_value = freedom = math.nan
    if min(len(x), len(y)) > 1 and (varies(x, np.abs(x).max()) or varies(y, np.abs(y).max())):
        test = CompareMeans(DescrStatsW(x), DescrStatsW(y))
        _, p_value, freedom = test.ttest_ind(usevar="unequal")
        low, high = test.tconfint_diff(1 - confidence, usevar="unequal")
    return Comparison(
        Difference(estimate, float(low), float(high)),
        p_value=float(p_value),
        freedom=float(freedom),
        paired=False,
        n_arm=len(x),
        n_baseline=len(y),
        sd_arm=sample_sd(x),
        sd_baseline=sample_sd(y),
        sd_difference=math.nan,
    )


def _paired(x: np.ndarray, y: np.ndarray, confidence: float) -> Comparison:
    differences = x - y
    estimate = float(differences.mean()) if len(differences) else math.nan
    low = high = p_value = freedom = math.nan
    if len(differences) > 1 and varies(differences, np.abs(x).max()):
        test = DescrStatsW(differences)
        _, p_value, freedom = test.ttest_mean(0.0)
        low, high = test.tconfint_mean(1 - confidence)
    return Comparison(
        Difference(estimate, float(low), float(high)),
        p_value=float(p_value),
        freedom=float(freedom),
        paired=True,
        n_arm=len(x),
        n_baseline=len(y),
        sd_arm=sample_sd(x),
        sd_baseline=sample_sd(y),
        sd_difference=sample_sd(differences),
    )
