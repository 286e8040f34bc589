"""What a design can detect, and how many seeds it would take: the power of the t-tests in `compare`.

The power is that of the noncentral t distribution (scipy). A two-sided test at alpha is counted as successful
only if it finds the right sign, which is the one-sided test at alpha / 2. Unpaired tests use Welch's degrees of
freedom, so unequal spreads and unequal numbers of seeds are what they are.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from scipy import optimize, stats

# A design that needs more seeds than this is not a design.
MOST_SEEDS = 10_000


class Noise(Protocol):
    """How seeds scatter, as far as the standard error of a difference needs to know."""

    def error(self, n_arm: int, n_baseline: int) -> tuple[float, float]:
        """Standard error of the difference of means, and the degrees of freedom of its t-test."""


@dataclass(frozen=True)
class Unpaired:
    """Independent seeds; standard deviations of one run, in the unit of the losses."""

    sd_arm: float
    sd_baseline: float

    def error(self, n_arm: int, n_baseline: int) -> tuple[float, float]:
        """Welch's standard error and Satterthwaite's degrees of freedom (Welch 1947), for n >= 2 on both sides."""
        arm, baseline = self.sd_arm**2 / n_arm, self.sd_baseline**2 / n_baseline
        total = arm + baseline
        if not total > 0:
            return math.nan, math.nan
        return math.sqrt(total), total**2 / (arm**2 / (n_arm - 1) + baseline**2 / (n_baseline - 1))


@dataclass(frozen=True)
class Paired:
    """Shared seeds; standard deviation of the per-seed difference, in the unit of the losses."""

    sd_difference: float

    @classmethod
    def correlated(cls, sd_arm: float, sd_baseline: float, rho: float) -> "Paired":
        """From the spreads of both sides and the correlation of their losses over shared seeds."""
        # At rho = 1 rounding can leave a variance just below zero.
        return cls(math.sqrt(max(0.0, sd_arm**2 + sd_baseline**2 - 2 * rho * sd_arm * sd_baseline)))

    def error(self, n_arm: int, n_baseline: int) -> tuple[float, float]:
        """Only seeds that both sides have count."""
        n = min(n_arm, n_baseline)
        return (self.sd_difference / math.sqrt(n), n - 1) if self.sd_difference > 0 else (math.nan, math.nan)


def minimum_detectable(noise: Noise, n_arm: int, n_baseline: int, *, alpha: float, power: float) -> float:
    """The true difference that the two-sided test finds with probability `power`, in the unit of the noise.

    NaN below two seeds a side or without noise to measure it in.
    """
    if min(n_arm, n_baseline) < 2:
        return math.nan
    error, freedom = noise.error(n_arm, n_baseline)
    if math.isnan(error):
        return math.nan

    def excess(errors: float) -> float:
        return _power(errors, freedom, alpha / 2) - power

    # The normal distribution's answer is a lower bound; few degrees of freedom can multiply it.
    high = stats.norm.isf(alpha / 2) + stats.norm.ppf(power)
    while excess(high) < 0:
        high *= 2
    return error * float(optimize.brentq(excess, 0.0, high, xtol=1e-9))


def seeds_to_detect(
    noise: Noise, difference: float, *, baseline_per_arm: int, alpha: float, power: float
) -> int | None:
    """Seeds per arm, with `baseline_per_arm` times as many baseline seeds, to find a true difference.

    None if the difference is zero or unknown, there is no noise estimate, or it would take more than `MOST_SEEDS`.
    """

    def enough(n: int) -> bool:
        error, freedom = noise.error(n, n * baseline_per_arm)
        return _power(abs(difference) / error, freedom, alpha / 2) >= power

    return _fewest(enough, noise, abs(difference), baseline_per_arm, stats.norm.isf(alpha / 2) + stats.norm.ppf(power))


def seeds_to_equate(
    noise: Noise, difference: float, margin: float, *, baseline_per_arm: int, alpha: float, power: float
) -> int | None:
    """Seeds per arm for TOST to show equivalence within the margin, if the true difference is `difference`.

    The power of TOST is bounded below by that of its two one-sided tests (Bonferroni); the bound is tight wherever
    the power is high. None if the difference is not within the margin or unknown, or as in `seeds_to_detect`.
    """
    room = margin - abs(difference)

    def enough(n: int) -> bool:
        error, freedom = noise.error(n, n * baseline_per_arm)
        above, below = ((margin + side * difference) / error for side in (1, -1))
        return _power(above, freedom, alpha) + _power(below, freedom, alpha) - 1 >= power

    return _fewest(enough, noise, room, baseline_per_arm, stats.norm.isf(alpha) + stats.norm.ppf(power))


def _power(errors: float, freedom: float, alpha: float) -> float:
    """Power of a one-sided t-test when the truth is `errors` standard errors away from the null, towards it."""
    return float(stats.nct.sf(stats.t.isf(alpha, freedom), freedom, errors))


def _fewest(
    enough: Callable[[int], bool], noise: Noise, distance: float, baseline_per_arm: int, errors: float
) -> int | None:
    """The smallest n that is enough; `distance` must come to at least about `errors` standard errors."""
    error, _ = noise.error(MOST_SEEDS, MOST_SEEDS * baseline_per_arm)
    if not distance > 0 or math.isnan(error) or errors * error > distance:
        return None
    # A normal statistic has more power than a t statistic, so what it needs is a lower bound, and a close one.
    low = max(1, math.ceil(MOST_SEEDS * (errors * error / distance) ** 2) - 1)
    step = 1
    while not enough(low + step):
        low, step = low + step, 2 * step
    high = low + step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high if high <= MOST_SEEDS else None
