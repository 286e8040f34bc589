"""Is an arm the same as the baseline, for all that matters? Two one-sided tests against a declared margin."""

import math
from dataclasses import dataclass

import numpy as np
from statsmodels.stats.weightstats import ttost_ind, ttost_paired

from llamalab.analysis.statistics.comparison import Difference, Losses, compare
from llamalab.common.errors import UserError


@dataclass(frozen=True)
class Equivalence:
    """Two one-sided tests (TOST, Schuirmann 1987) of an arm against the baseline.

    `p_value` is for "the means differ by the margin or more": below alpha, they differ by less. `difference` has the
    interval with coverage 1 - 2 alpha (90% for alpha 0.05), which lies within ±margin exactly when p < alpha.
    NaN where the data cannot say.
    """

    margin: float
    p_value: float
    difference: Difference


def equivalence(arm: Losses, baseline: Losses, *, margin: float, paired: bool, alpha: float) -> Equivalence:
    """TOST with statsmodels, unpaired with unequal variances or paired over shared seeds, as in `compare`.

    Args:
        arm: seed -> value, finished runs only.
        baseline: seed -> value, likewise.
        margin: the largest difference that does not matter, in the unit of the values; positive.
        paired: as in `compare`.
        alpha: level of the test, such as 0.05.

    Raises:
        UserError: the margin is not positive.
    """
    if not margin > 0:
        raise UserError(f"margin={margin}: an equivalence margin is a positive difference, such as 0.01 nats")
    interval = compare(arm, baseline, paired=paired, confidence=1 - 2 * alpha)
    if not interval.difference.has_interval:
        return Equivalence(margin, math.nan, interval.difference)
    if paired:
        shared = sorted(arm.keys() & baseline.keys())
        x, y = (np.array([side[seed] for seed in shared], dtype=float) for side in (arm, baseline))
        p_value = ttost_paired(x, y, -margin, margin)[0]
    else:
        x, y = (np.array(list(side.values()), dtype=float) for side in (arm, baseline))
        p_value = ttost_ind(x, y, -margin, margin, usevar="unequal")[0]
    return Equivalence(margin, float(p_value), interval.difference)
