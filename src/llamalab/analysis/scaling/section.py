"""The token study on the page: the fitted law, how far it holds, and what model it makes cheapest."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from llamalab.analysis.extra import Drawing, Extra
from llamalab.analysis.judgement import metric_of
from llamalab.analysis.records import DIVERGED, FINISHED, Study
from llamalab.analysis.scaling import figures
from llamalab.analysis.scaling.bootstrap import bootstrap
from llamalab.analysis.scaling.fit import HOFFMANN_DELTA, HOFFMANN_GRID, FitSettings, fit
from llamalab.analysis.scaling.holdout import holdout
from llamalab.analysis.scaling.tables import holdout_table, inference_table, parameter_table

EXPONENT_BOUNDS, TERM_FLOOR = (0.02, 2.5), 1e-3
BOOTSTRAP_TRIES, CONFIDENCE, BOOTSTRAP_SEED = 3, 0.95, 0
SHARES = (0.8, 0.6, 0.4)  # of the training-optimal size, whose cost is drawn
FEWEST_RUNS = 6


class ScalingAnalysis:
    """Fits L(N, D) to the study's runs.

    Args:
        parameters: which count of result.json is N: `total` or `non_embedding`.
        tries: starts that are followed to their end.
        resamples: of the bootstrap over runs.
        held_out: part of the runs, those of the largest training FLOP, that are held out and predicted.
        inference_tokens: numbers of tokens for which the cheapest model is computed.
    """

    def __init__(
        self, parameters: str, tries: int, resamples: int, held_out: float, inference_tokens: Sequence[float]
    ) -> None:
        self.parameters, self.resamples, self.held_out = parameters, resamples, held_out
        self.inference_tokens = inference_tokens
        self.settings = FitSettings(HOFFMANN_GRID, HOFFMANN_DELTA, tries, EXPONENT_BOUNDS, TERM_FLOOR)

    def frame(self, study: Study) -> pd.DataFrame:
        """The runs that ended as the fit wants them: arm, seed, n, d, loss (NaN if diverged), diverged."""
        rows = [
            {
                "arm": run.arm,
                "seed": run.seed,
                "n": run.result["parameters"][self.parameters],
                "d": run.result["tokens"],
                "loss": metric_of(run, study.record["metric"]) if run.status == FINISHED else math.nan,
                "diverged": run.status == DIVERGED,
            }
            for run in study.runs
            if run.result is not None
        ]
        return pd.DataFrame(rows, columns=["arm", "seed", "n", "d", "loss", "diverged"])

    def __call__(self, study: Study) -> Extra:
        """Tables, figures and claims of the study."""
        runs = self.frame(study)
        finished = runs[~runs["diverged"]]
        claims = {"falls_beyond": falls(finished)} if len(finished) else {}
        if len(finished) < FEWEST_RUNS:
            return Extra(sentences=[f"{len(finished)} finished runs are too few to fit a law to."], claims=claims)
        fitted = fit(runs, self.settings, study.key)
        resampled = bootstrap(fitted, self.settings, self.resamples, BOOTSTRAP_TRIES, CONFIDENCE, BOOTSTRAP_SEED)
        tables = [parameter_table(fitted, resampled)]
        tables.append(holdout_table(holdout(runs, self.settings, self.held_out, study.key)))
        drawings = [
            Drawing(
                "tokens",
                figures.loss_against_tokens(runs, fitted.law, resampled),
                "Final loss of each run against its tokens, with the fitted law and its bootstrap band.",
            )
        ]
        sentences = [f"The runs do not determine the law: {problem}." for problem in fitted.problems]
        if fitted.identified:
            loss = float(np.quantile(finished["loss"], 0.25))
            tables.append(inference_table(fitted.law, loss, self.inference_tokens))
            most = max(self.inference_tokens)
            drawings += [
                Drawing("iso_loss", figures.iso_loss(runs, fitted.law), "Sizes and budgets of equal predicted loss."),
                Drawing(
                    "total_cost",
                    figures.total_cost(fitted.law, loss, list(SHARES), most),
                    f"Training and inference together for models of equal predicted loss ({loss:.3f}): the smaller, "
                    "longer-trained model is cheaper once it is used enough.",
                ),
                Drawing(
                    "cheapest_size",
                    figures.cheapest_size(fitted.law, resampled, loss, most),
                    "The cheapest size for a number of inference tokens, at that loss.",
                ),
            ]
        return Extra(tables, drawings, sentences, claims)


def falls(runs: pd.DataFrame) -> tuple[str, bool | None]:
    """Whether each size's loss falls from its second longest budget to its longest, in every seed that has both."""
    gains, ratios = [], []
    for (n, _), members in runs.groupby(["n", "seed"]):
        ordered = members.sort_values("d")
        if len(ordered) > 1:
            gains.append(float(ordered["loss"].iloc[-2] - ordered["loss"].iloc[-1]))
            ratios.append(float(ordered["d"].iloc[-2] / n))
    if not gains:
        return "no size has two budgets", None
    text = f"{min(gains):+.3f} to {max(gains):+.3f} gained beyond {min(ratios):.0f} tokens per parameter"
    return text, True if min(gains) > 0 else False if max(gains) <= 0 else None
