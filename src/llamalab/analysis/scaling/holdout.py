"""Does the law predict runs that are larger than those it was fitted to?"""

import math
from dataclasses import dataclass

import pandas as pd

from llamalab.analysis.scaling.fit import Fit, FitSettings, fit
from llamalab.analysis.scaling.law import training_flops
from llamalab.analysis.scaling.runs import finished
from llamalab.common.errors import UserError


@dataclass(frozen=True)
class Holdout:
    """A fit to the smaller runs, and the larger ones with their `predicted` loss and `error` (prediction minus loss).

    Losses and errors are in nats a token.
    """

    fit: Fit
    held_out: pd.DataFrame

    @property
    def mean_error(self) -> float:
        """Mean of prediction minus loss: above 0 where the law is too pessimistic about larger runs."""
        return float(self.held_out["error"].mean())

    @property
    def mean_absolute_error(self) -> float:
        """Mean size of the error."""
        return float(self.held_out["error"].abs().mean())


def holdout(runs: pd.DataFrame, settings: FitSettings, fraction: float, source: str) -> Holdout:
    """Fits without the runs of the most training FLOP (6 N D) and predicts those.

    One rule for size and tokens alike, since it is the budget that a law is asked to extrapolate. Runs of equal budget,
    such as the seeds of one cell, stay on the same side.

    Args:
        runs: columns of `runs.COLUMNS`.
        settings: how to search.
        fraction: part of the finished runs to hold out; rounded up.
        source: what the law is called.

    Raises:
        UserError: `fraction` leaves no run on one of the sides.
    """
    kept = finished(runs)
    flops = training_flops(kept["n"].astype(float), kept["d"].astype(float))
    count = math.ceil(fraction * len(kept))
    if not 0 < count < len(kept):
        raise UserError(f"fraction: {fraction:g} of {len(kept)} runs leaves nothing to hold out or nothing to fit")
    large = flops >= flops.nlargest(count).min() * (1 - 1e-9)
    if large.all():
        raise UserError("runs: all have the same budget 6 N D, so none can be held out as larger")
    fitted = fit(kept[~large], settings, source)
    held = kept[large].reset_index(drop=True)
    held["flops"] = flops[large].to_numpy()
    held["predicted"] = fitted.law.loss(held["n"].to_numpy(float), held["d"].to_numpy(float))
    held["error"] = held["predicted"] - held["loss"]
    return Holdout(fitted, held)
