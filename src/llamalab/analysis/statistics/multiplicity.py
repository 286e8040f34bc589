"""Several arms, one family: p values adjusted for having looked at all of them."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from llamalab.common.errors import UserError


def holm(p_values: Mapping[str, float], family: Sequence[str]) -> dict[str, float]:
    """Holm's step-down adjustment (Holm 1979) over the family that the study declared before its runs.

    Args:
        p_values: arm -> p value; NaN or absent where the arm has none (yet).
        family: the declared arms. The family keeps its declared size whatever became of the runs: an arm without a
            p value counts as one with p = 1, so losing runs never makes the others more significant.

    Returns:
        arm -> adjusted p value for every arm of the family, NaN where it had none. The chance of any false rejection
        at adjusted p < alpha is at most alpha, whatever the dependence (the arms share their baseline).

    Raises:
        UserError: a p value for an arm that is not in the family, or an arm declared twice.
    """
    undeclared = [arm for arm in p_values if arm not in family]
    if undeclared:
        raise UserError(f"family: {undeclared[0]} is not in it; no p value for a comparison that was not declared")
    if len(set(family)) < len(family):
        raise UserError(f"family={list(family)}: name each arm once")
    if not family:
        return {}
    known = {arm: p_values.get(arm, math.nan) for arm in family}
    p = np.array([1.0 if math.isnan(p) else p for p in known.values()])
    order = p.argsort(kind="stable")
    adjusted = np.empty_like(p)
    # statsmodels' multipletests does the same and collects garbage, in a large process for a second at every call
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1)
    return {arm: math.nan if math.isnan(p) else float(q) for (arm, p), q in zip(known.items(), adjusted, strict=True)}
