"""What the learning-rate sweep of a study says: the chosen rates, what a wrong one costs, and how arms transfer."""

import math
from typing import Any

from llamalab.analysis.judgement import metric_of
from llamalab.analysis.records import DIVERGED, FINISHED, Study
from llamalab.analysis.statistics.sensitivity import loss_at, lr_sensitivity
from llamalab.common import formats
from llamalab.common.tables import Column, Table

Points = list[tuple[float, float]]


def sweep_points(study: Study) -> dict[str, Points]:
    """(rate, loss) of each arm's sweep, rising, the mean over the sweep's seeds; infinite where one diverged."""
    found: dict[str, dict[float, list[float]]] = {}
    for run in study.sweep:
        if run.status in (FINISHED, DIVERGED) and run.arm is not None and run.result is not None:
            loss = metric_of(run, study.record["metric"]) if run.status == FINISHED else math.inf
            # the folder's name is rounded; the run knows its rate
            found.setdefault(run.arm, {}).setdefault(_rate(run.result, run.rate), []).append(loss)
    return {
        arm: [(rate, math.fsum(losses) / len(losses)) for rate, losses in sorted(points.items())]
        for arm, points in found.items()
    }


def _rate(result: dict[str, Any], named: float | None) -> float:
    rate = result.get("lr", named)
    assert rate is not None
    return float(rate)


def learning_rates_table(study: Study) -> Table | None:
    """One row an arm; None where the study did not sweep, or has not chosen yet."""
    points = sweep_points(study)
    if study.baseline not in study.rates or not points.get(study.baseline):
        return None
    scale = study.record["scale_config"]
    untrained = math.log(scale["vocab_size"])
    baseline_rate = study.rates[study.baseline]["chosen"]
    declared = [scale["lr"] * factor for factor in study.record["learning_rate"]["factors"]]
    rows = []
    for arm in study.arms:
        if arm not in study.rates or arm not in points:
            continue
        rates, losses = zip(*points[arm], strict=True)
        grid = [loss for rate, loss in points[arm] if any(math.isclose(rate, other) for other in declared)]
        rows.append(
            {
                "arm": arm,
                "chosen": study.rates[arm]["chosen"],
                "at_edge": "yes" if study.rates[arm]["at_edge"] else "",
                "points": len(rates),
                "diverged": sum(math.isinf(loss) for loss in losses),
                "best": min(losses),
                "transfer": loss_at(baseline_rate, rates, losses),
                "sensitivity": lr_sensitivity(grid, untrained),
            }
        )
    return Table(
        name=f"{study.key}_learning_rates",
        caption=(
            f"{study.name} at scale {study.scale}: the learning rate of each arm, chosen on seeds of its own. Best: "
            f"lowest loss of the sweep. Transfer: the loss at the baseline's rate ({baseline_rate:g}), interpolated in "
            "log rate. Sensitivity: mean excess loss over the declared grid, runs capped at the loss of the untrained "
            "model (Wortsman et al. 2023)."
        ),
        columns=[
            Column("arm", "arm", numeric=False),
            Column("chosen", "chosen rate", formats.significant(3)),
            Column("at_edge", "at edge", numeric=False),
            Column("points", "points", formats.count),
            Column("diverged", "diverged", formats.count),
            Column("best", "best", formats.fixed(4)),
            Column("transfer", "transfer", formats.fixed(4)),
            Column("sensitivity", "sensitivity", formats.fixed(4)),
        ],
        rows=rows,
    )
