"""What the pilot runs say about the noise, before any variant is judged: spread, pairing, divergence, repeats."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from llamalab.analysis.statistics.comparison import Losses, sample_sd, varies
from llamalab.analysis.statistics.divergence import Rate, divergence_rate


@dataclass(frozen=True)
class Spread:
    """Standard deviation over n seeds with its chi-square interval (normal losses); NaN below two seeds."""

    n: int
    sd: float
    low: float
    high: float


@dataclass(frozen=True)
class Correlation:
    """Pearson's rho of two arms' losses over n shared seeds, with Fisher's z interval.

    NaN rho below three seeds or where a side does not vary, NaN interval below four seeds.
    """

    n: int
    rho: float
    low: float
    high: float


@dataclass(frozen=True)
class Repeats:
    """The same seed run twice: what is left is nondeterminism, the floor under any comparison.

    `largest` is the largest absolute difference of a repeat, `sd` the standard deviation of one run around its
    seed's mean (sqrt(mean d^2 / 2)); 0 when every repeat was exact, NaN without repeats.
    """

    n: int
    largest: float
    sd: float


@dataclass(frozen=True)
class Pilot:
    """The noise of a study: `mean_rho` is the mean over arms that have a rho, `paired` what to pass to `compare`."""

    spread: Spread
    correlations: dict[str, Correlation]
    mean_rho: float
    paired: bool
    divergence: Rate
    repeats: Repeats


def pilot(
    baseline: Losses,
    others: Mapping[str, Losses],
    *,
    diverged: int,
    repeats: Losses,
    pair_from: float,
    confidence: float,
) -> Pilot:
    """Everything a study should know about its noise before it fixes its seeds.

    Args:
        baseline: seed -> loss of the baseline's finished runs.
        others: arm -> seed -> loss, the arms that share seeds with the baseline.
        diverged: baseline runs that diverged.
        repeats: seed -> loss of a second run of a baseline seed, nothing changed.
        pair_from: pair if the mean rho is at least this; declared by the study, such as 0.3.
        confidence: coverage of the intervals.
    """
    correlations = {name: seed_correlation(losses, baseline, confidence) for name, losses in others.items()}
    return Pilot(
        spread=seed_spread(baseline, confidence),
        correlations=correlations,
        mean_rho=mean_rho(correlations),
        paired=pair_seeds(correlations, pair_from),
        divergence=divergence_rate(diverged, len(baseline) + diverged, confidence),
        repeats=repeat_difference(baseline, repeats),
    )


def seed_spread(losses: Losses, confidence: float) -> Spread:
    """Sample standard deviation over seeds, with (n-1) s^2 / sigma^2 ~ chi-square of n - 1 for its interval."""
    values = np.array(list(losses.values()), dtype=float)
    n, sd = len(values), sample_sd(values)
    if n < 2 or not varies(values, np.abs(values).max()):
        return Spread(n, sd, math.nan, math.nan)
    low, high = stats.chi2.interval(confidence, n - 1)
    return Spread(n, sd, sd * math.sqrt((n - 1) / high), sd * math.sqrt((n - 1) / low))


def seed_correlation(arm: Losses, baseline: Losses, confidence: float) -> Correlation:
    """Pearson's correlation over the seeds that both have (scipy)."""
    shared = sorted(arm.keys() & baseline.keys())
    x, y = (np.array([side[seed] for seed in shared], dtype=float) for side in (arm, baseline))
    n = len(shared)
    if n < 3 or not all(varies(side, np.abs(side).max()) for side in (x, y)):
        return Correlation(n, math.nan, math.nan, math.nan)
    found = stats.pearsonr(x, y)
    if n < 4:  # Fisher's z has variance 1 / (n - 3)
        return Correlation(n, float(found.statistic), math.nan, math.nan)
    interval = found.confidence_interval(confidence)
    return Correlation(n, float(found.statistic), float(interval.low), float(interval.high))


def mean_rho(correlations: Mapping[str, Correlation]) -> float:
    """Mean over the arms that have a rho; NaN without any."""
    known = [c.rho for c in correlations.values() if not math.isnan(c.rho)]
    return float(np.mean(known)) if known else math.nan


def pair_seeds(correlations: Mapping[str, Correlation], pair_from: float) -> bool:
    """Whether to analyse seeds as pairs: the mean rho reaches the declared threshold. No rho, no pairing.

    One decision for the whole study: choosing per arm after the fact would be choosing the test by its result.
    """
    return mean_rho(correlations) >= pair_from


def repeat_difference(first: Losses, second: Losses) -> Repeats:
    """How far runs of the same seed come apart, over the seeds that were run twice."""
    differences = np.array([second[seed] - first[seed] for seed in sorted(first.keys() & second.keys())])
    if not len(differences):
        return Repeats(0, math.nan, math.nan)
    return Repeats(len(differences), float(np.abs(differences).max()), math.sqrt(float(np.mean(differences**2)) / 2))
