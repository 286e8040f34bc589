"""How far the fitted parameters could have been elsewhere: refits to resampled runs (Efron 1979)."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from llamalab.analysis.scaling.fit import Fit, FitSettings, refit
from llamalab.analysis.scaling.law import Floats, ScalingLaw
from llamalab.analysis.scaling.runs import COLUMNS
from llamalab.common.errors import UserError

PARAMETERS = ("E", "A", "B", "alpha", "beta", "size_exponent")


@dataclass(frozen=True)
class Bootstrap:
    """Laws of resampled runs.

    Args:
        laws: one for each resample.
        undetermined: part of the resamples whose runs did not determine the law (too few sizes drawn, or a parameter at
            a bound). Where this is large, so is the uncertainty, whatever the intervals say.
        confidence: coverage of the intervals.
    """

    laws: tuple[ScalingLaw, ...]
    undetermined: float
    confidence: float

    def parameters(self) -> pd.DataFrame:
        """One row a resample, columns PARAMETERS."""
        return pd.DataFrame([[getattr(law, name) for name in PARAMETERS] for law in self.laws], columns=PARAMETERS)

    def interval(self, name: str) -> tuple[float, float]:
        """Percentile interval of a parameter."""
        low, high = self._percentiles(np.array([getattr(law, name) for law in self.laws]))
        return float(low), float(high)

    def band(self, n: float, d: Floats) -> tuple[Floats, Floats]:
        """Percentile interval of the loss that N parameters have after each number of tokens."""
        low, high = self._percentiles(np.array([law.loss(n, d) for law in self.laws]))
        return low, high

    def _percentiles(self, values: Floats) -> Floats:
        return np.quantile(values, [(1 - self.confidence) / 2, (1 + self.confidence) / 2], axis=0)


def bootstrap(
    fitted: Fit, settings: FitSettings, resamples: int, tries: int, confidence: float, seed: int
) -> Bootstrap:
    """Draws as many runs as there are, with replacement, and fits the law again.

    Args:
        fitted: the fit to all runs.
        settings: those of the fit.
        resamples: how many times.
        tries: starts of each refit besides the fitted law; without any, a flat valley looks like a certain minimum.
        confidence: coverage of the intervals, such as 0.95.
        seed: of the draws.

    Raises:
        UserError: fewer than two resamples or two runs.
    """
    runs = fitted.runs[list(COLUMNS)]
    if resamples < 2 or len(runs) < 2:
        raise UserError(f"resamples: {resamples} of {len(runs)} runs give no interval; both must be at least 2")
    generator = np.random.default_rng(seed)
    laws, undetermined = [], 0
    for _ in range(resamples):
        drawn = runs.iloc[generator.integers(len(runs), size=len(runs))].reset_index(drop=True)
        law, determined = refit(drawn, settings, fitted.law, tries)
        laws.append(law)
        undetermined += not determined
    return Bootstrap(tuple(laws), undetermined / resamples, confidence)
