"""Each arm's learning rate: swept over a grid with seeds of its own, and chosen before any final run starts."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llamalab.analysis.statistics.sensitivity import quadratic_optimum
from llamalab.common.files import read_json, write_json
from llamalab.training import study
from llamalab.training.study_record import RATES_FILE

DIGITS = 3  # of a chosen rate; a loss does not know more


def choose(
    declared: dict[str, Any], scale_lr: float, sweep_dir: Path, train: Callable[[dict[str, list[float]]], None]
) -> dict[str, float]:
    """Runs the sweep and writes learning_rates.json.

    The grid of an arm is extended by a factor of two while its best point is at an edge, up to `max_points`.

    Args:
        declared: the study.
        scale_lr: the rate that the grid's factors multiply.
        sweep_dir: the study's folder.
        train: trains (or finds trained) each arm at the given rates.

    Returns:
        The chosen rate of each arm.
    """
    sweep = declared["learning_rate"]
    rates = {arm: sorted(scale_lr * factor for factor in sweep["factors"]) for arm in declared["arms"]}
    wanted = rates
    while wanted:
        train(wanted)
        losses = {arm: [_loss(declared, sweep_dir, arm, rate) for rate in rates[arm]] for arm in rates}
        wanted = {}
        for arm in rates:
            beyond = None if len(rates[arm]) >= sweep["max_points"] else beyond_edge(rates[arm], losses[arm])
            if beyond is not None:
                wanted[arm] = [beyond]
                rates[arm] = sorted([*rates[arm], beyond])
    chosen = {arm: chosen_rate(rates[arm], losses[arm]) for arm in rates}
    write_json(
        sweep_dir / RATES_FILE,
        {
            arm: {
                "chosen": chosen[arm],
                "at_edge": beyond_edge(rates[arm], losses[arm]) is not None,
                "grid": rates[arm],
                "losses": [loss if math.isfinite(loss) else None for loss in losses[arm]],
            }
            for arm in rates
        },
    )
    return chosen


def beyond_edge(rates: list[float], losses: list[float]) -> float | None:
    """The next rate to try when the best is at an edge of the (sorted) grid; None when it is bracketed."""
    best = min(range(len(rates)), key=lambda index: losses[index])
    if not math.isfinite(losses[best]) or best == 0:  # where every run diverged, a lower rate is the way
        return rates[0] / 2
    return rates[-1] * 2 if best == len(rates) - 1 else None


def chosen_rate(rates: list[float], losses: list[float]) -> float:
    """The optimum of a quadratic in the logarithm of the rate, to three digits; the lowest rate where all diverged."""
    if not any(map(math.isfinite, losses)):
        return rates[0]
    return float(f"{quadratic_optimum(rates, losses).lr:.{DIGITS}g}")


def _loss(declared: dict[str, Any], sweep_dir: Path, arm: str, rate: float) -> float:
    """Mean of the study's metric over the sweep's seeds; infinite where one diverged."""
    values = []
    for seed in declared["learning_rate"]["seeds"]:
        result = read_json(sweep_dir / study.rate_folder(arm, rate, seed) / "result.json")
        values.append(metric_of(result, declared["metric"]))
    return math.fsum(values) / len(values)


def metric_of(result: dict[str, Any], metric: str) -> float:
    """The study's metric in a result.json; infinite for a diverged run."""
    if result["status"] != "finished":
        return math.inf
    value: Any = result
    for key in metric.split("."):
        value = value[key]
    return float(value)
