"""Arms at equal FLOPs and at equal time: secondary to equal tokens, and read off the loss curves.

A point inside a run is not the end of a shorter run, whose learning rate would have come down by then. The arms'
budgets differ by a few per cent, so the curves are read near their ends, where this matters least.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.interpolate import PchipInterpolator

from llamalab.analysis.records import FINISHED, Run, Study, read_metrics
from llamalab.analysis.statistics import Difference, welch_difference
from llamalab.analysis.study_tables import between
from llamalab.common import formats
from llamalab.common.tables import Column, Table

FEWEST_POINTS = 2


@dataclass(frozen=True)
class Cost:
    """What a token of training costs in a run: floating-point operations, and seconds of its device."""

    flops: float
    seconds: float


def device_seconds(result: dict[str, Any]) -> float:
    """Seconds of the optimizer steps. On CPUs processor time over threads, which other work does not lengthen."""
    if result["hardware"].get("kind") != "cuda" and result.get("cpu_seconds"):
        return float(result["cpu_seconds"]) / result["hardware"]["devices"]
    return float(result["seconds"])


def cost(run: Run) -> Cost:
    """The cost of a token of a finished run."""
    assert run.result is not None
    return Cost(float(run.result["flops_per_token"]), device_seconds(run.result) / run.result["tokens"])


def loss_after(run: Run, tokens: float) -> float:
    """Validation loss after so many tokens: monotone cubic interpolation in log tokens; NaN outside of the curve."""
    metrics = read_metrics(run)
    if "validation/loss" not in metrics:
        return math.nan
    curve = metrics[["tokens", "validation/loss"]].dropna()
    if len(curve) < FEWEST_POINTS:
        return math.nan
    x = np.log(curve["tokens"].to_numpy(dtype=float))
    # the budget of the cheapest arm is its last point: rounding must not put it outside
    at = min(math.log(tokens), x[-1]) if tokens <= math.exp(x[-1]) * (1 + 1e-9) else math.inf
    return float(PchipInterpolator(x, curve["validation/loss"], extrapolate=False)(at)) if at < math.inf else math.nan


def _losses(study: Study, arm: str, costs: dict[str, Cost], kind: str, budget: float) -> list[float]:
    tokens = budget / getattr(costs[arm], kind)
    found = [loss_after(run, tokens) for run in study.runs if run.arm == arm and run.status == FINISHED]
    return [loss for loss in found if math.isfinite(loss)]


def matched_compute_table(study: Study) -> Table | None:
    """Differences at equal FLOPs and at equal time; None without a finished run of the baseline and another arm."""
    finished = {arm: [r for r in study.runs if r.arm == arm and r.status == FINISHED] for arm in study.arms}
    costs = {}
    for arm, runs in finished.items():
        if runs:
            each = [cost(run) for run in runs]
            costs[arm] = Cost(each[0].flops, float(np.median([one.seconds for one in each])))
    if study.baseline not in costs or len(costs) < 2:
        return None
    spent = {arm: finished[arm][0].result["tokens"] for arm in costs}  # type: ignore[index]
    rows: list[dict[str, Any]] = []
    budgets = {kind: min(spent[arm] * getattr(costs[arm], kind) for arm in costs) for kind in ("flops", "seconds")}
    confidence = study.record["confidence"]
    for arm in study.arms:
        if arm not in costs:
            continue
        row: dict[str, Any] = {"arm": arm, "flops_per_token": costs[arm].flops}
        row |= {"seconds_per_token": costs[arm].seconds, "tokens_per_second": 1 / costs[arm].seconds}
        row["relative_speed"] = costs[study.baseline].seconds / costs[arm].seconds
        for kind, budget in budgets.items():
            ours, theirs = (_losses(study, name, costs, kind, budget) for name in (arm, study.baseline))
            difference = welch_difference(ours, theirs, confidence)
            if arm == study.baseline:
                difference = Difference(math.nan, math.nan, math.nan)
            row |= {f"{kind}_loss": float(np.mean(ours)) if ours else math.nan}
            row |= {f"{kind}_difference": difference.estimate}
            row |= {f"{kind}_low": difference.low, f"{kind}_high": difference.high}
            row[f"{kind}_interval"] = between(difference)
        rows.append(row)
    return Table(
        name=f"{study.key}_matched_compute",
        caption=(
            f"{study.name} at scale {study.scale}: differences from {study.baseline} at equal FLOPs "
            f"({formats.compact()(budgets['flops'])}) and at equal time ({formats.fixed(1)(budgets['seconds'])} s of "
            "one device), the cheapest arm's whole run; validation loss read off the curves, so of runs whose learning "
            "rate had not quite come down. Speed is tokens per second of the device, on CPUs by processor time."
        ),
        columns=[
            Column("arm", "arm", numeric=False),
            Column("flops_per_token", "FLOP per token", formats.compact()),
            Column("seconds_per_token", "seconds per token", readable=False),
            Column("tokens_per_second", "tokens/s", formats.significant(3)),
            Column("relative_speed", "speed", formats.percent(0)),
            *(
                column
                for kind, what in (("flops", "equal FLOPs"), ("seconds", "equal time"))
                for column in (
                    Column(f"{kind}_loss", f"loss, {what}", formats.fixed(4)),
                    Column(f"{kind}_difference", "difference", formats.signed(4)),
                    Column(f"{kind}_low", "low", readable=False),
                    Column(f"{kind}_high", "high", readable=False),
                    Column(f"{kind}_interval", "interval"),
                )
            ),
        ],
        rows=rows,
    )
