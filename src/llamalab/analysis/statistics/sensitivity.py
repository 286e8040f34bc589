"""What a learning-rate sweep says: the best rate between the grid's points, and how much a wrong one costs.

A sweep is a grid of learning rates with one loss each; a diverged run has loss NaN (or infinite).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from llamalab.analysis.statistics.comparison import varies
from llamalab.common.errors import UserError


@dataclass(frozen=True)
class Optimum:
    """The best learning rate of a sweep and its loss.

    `interpolated` says whether it is a parabola's vertex or a point of the grid. `at_edge` is "low" or "high" if the
    grid's first or last point is the best: the optimum may lie beyond, extend the grid. NaN if every run diverged.
    """

    lr: float
    loss: float
    interpolated: bool
    at_edge: Literal["low", "high"] | None


def quadratic_optimum(lrs: Sequence[float], losses: Sequence[float]) -> Optimum:
    """Vertex of the parabola in log(lr) through the best point and its two neighbours on the grid.

    Three points, not a fit to more: away from the optimum the loss is not quadratic (it rises more steeply towards
    divergence), and distant points would pull the vertex. The vertex of three points whose middle is the lowest lies
    between the midpoints of the two gaps, so it never leaves the neighbours' range.

    The best grid point itself is returned if it is at an edge of the grid (`at_edge`), if a neighbour diverged (the
    optimum is bracketed but cannot be interpolated) or if the three losses are equal.

    Raises:
        UserError: see `_sweep`.
    """
    rates, values = _sweep(lrs, losses)
    finite = np.isfinite(values)
    if not finite.any():
        return Optimum(math.nan, math.nan, False, None)
    best = int(np.argmin(np.where(finite, values, np.inf)))
    rate, loss = float(rates[best]), float(values[best])
    if best in (0, len(rates) - 1):
        return Optimum(rate, loss, False, "low" if best == 0 else "high")
    near = slice(best - 1, best + 2)
    if not finite[near].all() or not varies(values[near], float(np.abs(values[near]).max())):
        return Optimum(rate, loss, False, None)
    x = np.log(rates[near] / rate)
    curvature, slope, constant = (float(c) for c in np.polyfit(x, values[near], 2))
    assert curvature > 0, "the middle of three points is the lowest, and they are not all equal"
    vertex = -slope / (2 * curvature)
    return Optimum(rate * math.exp(vertex), constant + slope * vertex / 2, True, None)


def lr_sensitivity(losses: Sequence[float], loss_cap: float) -> float:
    """Mean over the grid of min(loss, loss_cap) minus the best loss (Wortsman et al. 2023, section 2.2), nats.

    Args:
        losses: one for each learning rate of a grid that is even in log(lr); a diverged run counts as `loss_cap`.
        loss_cap: the loss at initialisation, beyond which a run has learned nothing.

    Returns:
        NaN if every run diverged. Only sweeps over the same grid compare.
    """
    values = np.asarray(losses, dtype=float)
    if not np.isfinite(values).any():
        return math.nan
    capped = np.minimum(np.where(np.isfinite(values), values, loss_cap), loss_cap)
    return float(capped.mean() - capped.min())


def loss_at(lr: float, lrs: Sequence[float], losses: Sequence[float]) -> float:
    """The loss at another arm's learning rate (transfer), linear in log(lr) between the grid's points.

    Returns:
        NaN outside the grid or where a neighbouring run diverged: neither can be interpolated.

    Raises:
        UserError: see `_sweep`.
    """
    rates, values = _sweep(lrs, losses)
    values = np.where(np.isfinite(values), values, math.nan)
    on_grid = np.isclose(rates, lr, rtol=1e-9, atol=0)
    if on_grid.any():
        return float(values[on_grid][0])
    return float(np.interp(math.log(lr), np.log(rates), values, left=math.nan, right=math.nan))


def _sweep(lrs: Sequence[float], losses: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Learning rates in rising order with their losses; UserError unless they are positive, distinct and matched."""
    rates, values = np.asarray(lrs, dtype=float), np.asarray(losses, dtype=float)
    if len(rates) != len(values) or not len(rates):
        raise UserError(f"lrs: {len(rates)} learning rates and {len(values)} losses; a sweep has one loss for each")
    if not (np.isfinite(rates) & (rates > 0)).all() or len(np.unique(rates)) < len(rates):
        raise UserError(f"lrs={list(lrs)}: learning rates must be positive and distinct (average over seeds first)")
    order = np.argsort(rates)
    return rates[order], values[order]
