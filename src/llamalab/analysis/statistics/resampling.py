"""Cross-checks that assume no normal distribution: bootstrap over seeds, over documents, and sign flips.

Seeds and documents are two different sources of noise: another seed is another training run, another document is
another validation text for the same runs. Their intervals are never mixed into one.
"""

import math
import warnings
from dataclasses import dataclass

import numpy as np
from scipy import stats

from llamalab.analysis.statistics.comparison import Difference, Losses, compare, varies

FEWEST_SIGN_FLIPS = 6  # 2 / 2^6 = 0.031 is the first attainable two-sided p below 0.05
_BATCH_ELEMENTS = 4_000_000  # resampled values held at a time: 32 MB


@dataclass(frozen=True)
class Resampling:
    """How many resamples, from which seed of the generator, and the coverage of the interval."""

    resamples: int
    seed: int
    confidence: float


def seed_bootstrap(arm: Losses, baseline: Losses, *, paired: bool, resampling: Resampling) -> Difference:
    """Difference of means with the BCa bootstrap interval over seeds (Efron 1987; scipy).

    Unpaired: seeds of both sides are resampled independently. Paired: the shared seeds' differences are. With few
    seeds the interval is too narrow (see docs/statistics.md): a cross-check of the t-interval, not a replacement.

    Returns:
        The estimate of `compare`; no interval where that has none, or where the resamples are degenerate.
    """
    estimate = compare(arm, baseline, paired=paired, confidence=resampling.confidence).difference
    if not estimate.has_interval:
        return estimate
    if paired:
        shared = sorted(arm.keys() & baseline.keys())
        data: tuple[np.ndarray, ...] = (np.array([arm[seed] - baseline[seed] for seed in shared]),)
    else:
        data = (np.array(list(arm.values())), np.array(list(baseline.values())))
    with warnings.catch_warnings():
        # Degenerate resamples come back as NaN, which is the answer: the warning adds nothing.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        interval = stats.bootstrap(
            data,
            _mean_difference if len(data) == 2 else np.mean,
            n_resamples=resampling.resamples,
            confidence_level=resampling.confidence,
            method="BCa",
            vectorized=True,
            random_state=np.random.default_rng(resampling.seed),
        ).confidence_interval
    found = (float(interval.low), float(interval.high))
    return Difference(estimate.estimate, *(found if all(map(math.isfinite, found)) else (math.nan, math.nan)))


def document_bootstrap(
    arm_losses: np.ndarray, baseline_losses: np.ndarray, tokens: np.ndarray, *, resampling: Resampling
) -> Difference:
    """Token-weighted mean difference with its interval over validation documents, for these runs.

    Both arms are scored on the same documents, so documents are resampled together with both losses and their token
    count (percentile bootstrap of the ratio of sums; scipy). Says how far the held-out set pins the difference
    down, and nothing about other seeds. Windows of one document are not independent: pass sums per document.

    Args:
        arm_losses: S_arm x N, nats summed over each document, one row a seed; rows are averaged.
        baseline_losses: S_baseline x N, likewise, the same documents in the same order.
        tokens: N, predicted tokens of each document, positive.
        resampling: how to resample.

    Returns:
        nats per token. No interval below two documents or if all differ by the same; NaN without documents or seeds.

    Raises:
        ValueError: the shapes do not agree, or a document has no tokens.
    """
    arm_losses, baseline_losses = np.atleast_2d(arm_losses), np.atleast_2d(baseline_losses)
    tokens = np.asarray(tokens, dtype=float)
    n = len(tokens)
    if arm_losses.shape[1] != n or baseline_losses.shape[1] != n:
        raise ValueError(
            f"arm {arm_losses.shape} and baseline {baseline_losses.shape} must be seeds x {n} documents, as tokens is"
        )
    if np.any(tokens <= 0):
        raise ValueError("tokens: a document without predicted tokens has no loss; leave it out")
    if not n or not len(arm_losses) or not len(baseline_losses):
        return Difference(math.nan, math.nan, math.nan)
    nats = arm_losses.mean(axis=0) - baseline_losses.mean(axis=0)  # N
    estimate = float(nats.sum() / tokens.sum())
    if n < 2 or not varies(nats / tokens, float(np.max(np.abs(arm_losses.mean(axis=0)) / tokens))):
        return Difference(estimate, math.nan, math.nan)
    interval = stats.bootstrap(
        (nats, tokens),
        lambda x, weights, axis: x.sum(axis=axis) / weights.sum(axis=axis),
        paired=True,
        n_resamples=resampling.resamples,
        batch=max(1, _BATCH_ELEMENTS // n),
        confidence_level=resampling.confidence,
        method="percentile",
        vectorized=True,
        random_state=np.random.default_rng(resampling.seed),
    ).confidence_interval
    return Difference(estimate, float(interval.low), float(interval.high))


def sign_permutation(arm: Losses, baseline: Losses, *, resampling: Resampling) -> float:
    """Two-sided p value of the paired difference by flipping the signs of the per-seed differences (scipy).

    Exact while all 2^n flips number at most `resamples`, else from that many random ones.

    Returns:
        NaN below six shared seeds, where no p value could fall below 0.05.
    """
    shared = sorted(arm.keys() & baseline.keys())
    if len(shared) < FEWEST_SIGN_FLIPS:
        return math.nan
    return float(
        stats.permutation_test(
            (np.array([arm[seed] - baseline[seed] for seed in shared]),),
            np.mean,
            permutation_type="samples",
            vectorized=True,
            n_resamples=resampling.resamples,
            random_state=np.random.default_rng(resampling.seed),
        ).pvalue
    )


def _mean_difference(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
    return x.mean(axis=axis) - y.mean(axis=axis)
