"""Fits the law to runs (Hoffmann et al. 2022, appendix D.3), and says what the runs cannot tell."""

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from threadpoolctl import ThreadpoolController

from llamalab.analysis.scaling.law import Floats, ScalingLaw
from llamalab.analysis.scaling.objective import NAMES, Objective
from llamalab.analysis.scaling.runs import finished
from llamalab.common.errors import UserError


@dataclass(frozen=True)
class StartGrid:
    """Where searches start: every combination of these, with a = log A, b = log B, e = log E."""

    a: tuple[float, ...]
    b: tuple[float, ...]
    e: tuple[float, ...]
    alpha: tuple[float, ...]
    beta: tuple[float, ...]

    def points(self) -> Floats:
        """All starts (a, b, e, alpha, beta); S 5."""
        return np.array(list(itertools.product(self.a, self.b, self.e, self.alpha, self.beta)), dtype=float)


# Hoffmann et al. 2022, appendix D.3: 4500 starts, Huber loss with delta 1e-3.
HOFFMANN_GRID = StartGrid(
    a=(0, 5, 10, 15, 20, 25),
    b=(0, 5, 10, 15, 20, 25),
    e=(-1, -0.5, 0, 0.5, 1),
    alpha=(0, 0.5, 1, 1.5, 2),
    beta=(0, 0.5, 1, 1.5, 2),
)
HOFFMANN_DELTA = 1e-3
# The linear algebra inside L-BFGS, loaded with scipy above: on matrices of five rows its threads only spin.
LINEAR_ALGEBRA = ThreadpoolController()


@dataclass(frozen=True)
class FitSettings:
    """How a law is searched for.

    Args:
        grid: the starts.
        delta: residual of the log loss from which a run counts linearly instead of by its square.
        tries: starts that are followed to their end: those with the lowest objective. The published procedure follows
            all; the best ones end in the same place.
        exponent_bounds: least and greatest alpha and beta.
        term_floor: least value of E and of the two terms at the centre of the runs, as a part of the lowest loss. A
            parameter that ends at a bound is not determined by the runs, and the fit says so.
    """

    grid: StartGrid
    delta: float
    tries: int
    exponent_bounds: tuple[float, float]
    term_floor: float

    def __post_init__(self) -> None:
        low, high = self.exponent_bounds
        if not 0 < low < high:
            raise ValueError(f"exponent_bounds: {low:g} and {high:g} must be above 0 and ascending")
        if self.delta <= 0 or self.tries < 1 or not 0 < self.term_floor < 1:
            raise ValueError("delta must be above 0, tries at least 1, term_floor between 0 and 1")


@dataclass(frozen=True)
class Fit:
    """A fitted law, and how far it may be trusted.

    Args:
        law: the best one found.
        runs: the runs it was fitted to; columns of `runs.COLUMNS`, and `predicted` (nats a token).
        left_out: runs that diverged or have no loss.
        objective: the minimum, in units of delta^2.
        problems: reasons why the runs do not determine the law, each one sentence; none where they do.
        point: the minimum in the coordinates of the objective.
    """

    law: ScalingLaw
    runs: pd.DataFrame
    left_out: int
    objective: float
    problems: tuple[str, ...]
    point: Floats

    @property
    def identified(self) -> bool:
        """Whether the runs determine all five parameters."""
        return not self.problems

    @property
    def residual_sd(self) -> float:
        """Standard deviation of loss minus prediction, in nats a token, with five degrees of freedom used up."""
        residuals = self.runs["loss"] - self.runs["predicted"]
        return float(np.sqrt((residuals**2).sum() / (len(residuals) - 5))) if len(residuals) > 5 else float("nan")


def fit(runs: pd.DataFrame, settings: FitSettings, source: str) -> Fit:
    """The law with the least Huber loss over all starts.

    Args:
        runs: columns of `runs.COLUMNS`.
        settings: how to search.
        source: what the law is called afterwards, such as the name of the study.

    Raises:
        UserError: no run has a loss.
    """
    kept = finished(runs)
    if kept.empty:
        raise UserError("runs: none finished with a loss, so there is nothing to fit; run the study first")
    objective = Objective.of(kept, settings.delta)
    bounds = _bounds(kept, settings)
    point, value = search(objective, best_starts(objective, settings, bounds, settings.tries), bounds)
    law = objective.law(point, source)
    predicted = kept.assign(predicted=law.loss(kept["n"].to_numpy(float), kept["d"].to_numpy(float)))
    problems = _problems(kept, objective, point, bounds)
    return Fit(law, predicted, len(runs) - len(kept), value, problems, point)


def refit(runs: pd.DataFrame, settings: FitSettings, around: ScalingLaw, tries: int) -> tuple[ScalingLaw, bool]:
    """The law of other runs, searched for from a law and from the best few starts; and whether they determine it."""
    objective = Objective.of(runs, settings.delta)
    bounds = _bounds(runs, settings)
    logs = np.log([around.A, around.B, around.E])
    start = objective.centred(np.array([*logs, around.alpha, around.beta])).clip(*bounds.T)
    starts = np.vstack([start, best_starts(objective, settings, bounds, tries)]) if tries else start[None]
    point, _ = search(objective, starts, bounds)
    return objective.law(point, around.source), not _problems(runs, objective, point, bounds)


def _bounds(runs: pd.DataFrame, settings: FitSettings) -> Floats:
    """Lowest and highest value of every coordinate; 5 2."""
    term = np.log([settings.term_floor * runs["loss"].min(), runs["loss"].max()])
    return np.array([term, term, term, settings.exponent_bounds, settings.exponent_bounds])


def best_starts(objective: Objective, settings: FitSettings, bounds: Floats, tries: int) -> Floats:
    """The starts of lowest objective, inside the bounds; tries 5."""
    starts = np.unique(objective.centred(settings.grid.points()).clip(*bounds.T), axis=0)
    return starts[np.argsort(objective.values(starts), kind="stable")[:tries]]


def search(objective: Objective, starts: Floats, bounds: Floats) -> tuple[Floats, float]:
    """The lowest of the minima that L-BFGS finds from the starts (S 5): its point (5) and its value."""
    with LINEAR_ALGEBRA.limit(limits=1, user_api="blas"):
        found = [
            minimize(
                objective.value_and_gradient,
                start,
                jac=True,
                method="L-BFGS-B",
                bounds=bounds,
                options={"ftol": 1e-14, "gtol": 1e-9, "maxiter": 2000, "maxfun": 4000},
            )
            for start in starts
        ]
    best = min(found, key=lambda result: result.fun)
    return best.x, float(best.fun)


def _problems(runs: pd.DataFrame, objective: Objective, point: Floats, bounds: Floats) -> tuple[str, ...]:
    problems = []
    rank = objective.rank(point)
    if rank < len(NAMES):
        sizes, budgets = runs["n"].nunique(), runs["d"].nunique()
        problems.append(
            f"{len(runs)} runs with {sizes} sizes and {budgets} token counts determine {rank} of the "
            "5 parameters; three sizes and three token counts are the least"
        )
    for name, value, (low, high) in zip(NAMES, point, bounds, strict=True):
        for side, bound in (("lower", low), ("upper", high)):
            if np.isclose(value, bound, rtol=0, atol=1e-6):
                problems.append(f"{name} ended at the {side} bound of the search")
    return tuple(problems)
