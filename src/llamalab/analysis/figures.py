"""The figures of the report. Each takes plain numbers and returns a matplotlib figure; none reads a file."""

from collections.abc import Sequence, Sized
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from llamalab.analysis.figure_style import ARM_COLOURS, INK, MUTED, legend_above, new_figure, styled
from llamalab.analysis.scores import Score
from llamalab.analysis.study_tables import ArmResult
from llamalab.common import formats

# One curve a seed: tokens seen and the loss there.
Curves = dict[str, list[pd.DataFrame]]

FEW_POINTS = 20
TOKENS = FuncFormatter(lambda value, _: formats.compact()(value) if value else "0")


def mean_curve(seeds: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Mean loss over seeds at every token count that all of them reached; columns `tokens`, `loss`."""
    joined = pd.concat(list(seeds)).groupby("tokens")["loss"].agg(["mean", "size"])
    return joined[joined["size"] == len(seeds)]["mean"].rename("loss").reset_index()


def smoothed(curve: pd.DataFrame) -> pd.DataFrame:
    """The running mean of a loss curve over a twentieth of the run."""
    window = max(1, len(curve) // 20)
    return curve.assign(loss=curve["loss"].rolling(window, min_periods=1).mean())


@styled
def loss_curves(curves: Curves, colours: dict[str, str], label: str) -> Figure:
    """Loss against tokens: every seed thin, the mean over seeds thick; the frame leaves out the first tenth's fall."""
    figure, axes = new_figure(3.1)
    shown: list[float] = []
    for arm, seeds in curves.items():
        for seed in seeds:
            axes.plot(seed["tokens"], seed["loss"], color=colours[arm], linewidth=0.6, alpha=0.5)
            shown.extend(seed.loc[seed["tokens"] >= 0.1 * seed["tokens"].max(), "loss"])
        mean = mean_curve(seeds)
        axes.plot(mean["tokens"], mean["loss"], color=colours[arm], label=arm, **_thick(mean))
    margin = 0.05 * (max(shown) - min(shown)) + 1e-3
    axes.set_ylim(min(shown) - margin, max(shown) + margin)
    axes.set_ylabel(label)
    _tokens_axis(axes)
    legend_above(figure, axes)
    return figure


@styled
def difference_curves(curves: Curves, baseline: str, colours: dict[str, str]) -> Figure:
    """Validation loss of every seed minus the baseline's mean at the same tokens; the mean over seeds thick."""
    figure, axes = new_figure(3.1)
    reference = mean_curve(curves[baseline]).set_index("tokens")["loss"]

    def against_reference(curve: pd.DataFrame) -> pd.Series:
        shared = curve[curve["tokens"].isin(reference.index)].set_index("tokens")["loss"]
        return shared - reference.loc[shared.index]

    late = [0.0]
    for arm, seeds in curves.items():
        for seed in seeds:
            difference = against_reference(seed)
            axes.plot(difference.index, difference, color=colours[arm], linewidth=0.6, alpha=0.5)
            late.extend(difference.iloc[len(difference) // 2 :])
        mean = against_reference(mean_curve(seeds))
        axes.plot(mean.index, mean, color=colours[arm], label=arm, **_thick(mean))
    margin = 0.15 * (max(late) - min(late)) + 1e-3
    axes.set_ylim(min(late) - margin, max(late) + margin)
    axes.set_ylabel(f"loss minus {baseline} (nats/token)")
    _tokens_axis(axes)
    legend_above(figure, axes)
    return figure


def _thick(curve: Sized) -> dict[str, Any]:
    """The style of a mean; a curve of few evaluations shows each as a dot."""
    return {"linewidth": 1.8, "marker": "o" if len(curve) <= FEW_POINTS else None, "markersize": 3}


def _tokens_axis(axes: Axes) -> None:
    axes.set_xlim(left=0)
    axes.set_xlabel("training tokens")
    axes.xaxis.set_major_formatter(TOKENS)
    axes.xaxis.set_major_locator(MaxNLocator(5))


@styled
def forest(arms: list[ArmResult], confidence: float, margin: float, colours: dict[str, str]) -> Figure:
    """Differences from the baseline with their intervals; each seed's own difference from the baseline's mean small."""
    baseline, *others = arms
    figure, axes = new_figure(0.9 + 0.5 * max(len(others), 1))
    axes.axvspan(-margin, margin, color=MUTED, alpha=0.18, linewidth=0)
    axes.axvline(0, color=INK, linewidth=1)
    for row, arm in enumerate(others):
        colour, difference = colours[arm.name], arm.difference
        if difference.has_interval:
            axes.plot([difference.low, difference.high], [row, row], color=colour, linewidth=2, solid_capstyle="butt")
        seeds = np.array(arm.losses) - baseline.mean_loss
        axes.plot(seeds, np.full(len(seeds), row + 0.24), "|", color=colour, markersize=5, alpha=0.8)
        axes.plot([difference.estimate], [row], "o", color=colour, markersize=6)
    axes.set_yticks(range(len(others)), [arm.name for arm in others])
    axes.set_ylim(len(others) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(f"loss minus {baseline.name}, {100 * confidence:g}% interval (nats/token)")
    axes.xaxis.set_major_locator(MaxNLocator(6))
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0), max(high, 0))
    axes.annotate("better", (0.0, 1.0), xycoords="axes fraction", color=MUTED, va="bottom", ha="left")
    axes.annotate("worse", (1.0, 1.0), xycoords="axes fraction", color=MUTED, va="bottom", ha="right")
    return figure


@styled
def learning_rates(
    points: dict[str, list[tuple[float, float]]], chosen: dict[str, float], colours: dict[str, str]
) -> Figure:
    """Loss against learning rate for each arm, on a logarithmic axis, with the chosen rates."""
    figure, axes = new_figure(3.1)
    finite = [loss for arm in points.values() for _, loss in arm if np.isfinite(loss)]
    margin = 0.06 * (max(finite) - min(finite)) + 1e-3 if finite else 1.0
    top = max(finite) + margin if finite else 1.0
    for arm, sweep in points.items():
        rates, losses = np.array(sweep).T
        kept = np.isfinite(losses)
        axes.plot(rates[kept], losses[kept], "o-", color=colours[arm], linewidth=1.3, markersize=3.5, label=arm)
        axes.plot(rates[~kept], np.full((~kept).sum(), top), "x", color=colours[arm], markersize=6)
        if arm in chosen:
            axes.axvline(chosen[arm], color=colours[arm], linewidth=0.9, linestyle=(0, (1, 2)))
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.2g}"))
    axes.set_ylim(min(finite, default=0) - margin, top + margin / 2)
    axes.set_xlabel("peak learning rate")
    axes.set_ylabel("validation loss (nats/token)")
    legend_above(figure, axes)
    return figure


@styled
def throughput(arms: list[ArmResult], colours: dict[str, str]) -> Figure:
    """Training speed of every finished run, and the mean over seeds as a bar."""
    figure, axes = new_figure(0.9 + 0.42 * len(arms))
    for row, arm in enumerate(arms):
        speeds = [run.result["tokens_per_second"] for run in arm.finished if run.result]
        if speeds:
            axes.barh(row, np.mean(speeds), height=0.6, color=colours[arm.name], alpha=0.35)
            axes.plot(speeds, np.full(len(speeds), row), "o", color=colours[arm.name], markersize=4)
    axes.set_yticks(range(len(arms)), [arm.name for arm in arms])
    axes.set_ylim(len(arms) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(TOKENS)
    axes.set_xlabel("training tokens per second")
    return figure


@styled
def scores(rows: Sequence[Score]) -> Figure:
    """Scores with a chance level: dot the score, bar one standard error, dashed the chance level."""
    figure, axes = new_figure(0.8 + 0.3 * len(rows))
    for row, score in enumerate(rows):
        whole = score.domain is None
        axes.errorbar(
            score.value, row, xerr=score.stderr or 0.0, fmt="o", color=INK if whole else ARM_COLOURS[0], capsize=3
        )
        assert score.chance is not None
        axes.plot([score.chance, score.chance], [row - 0.4, row + 0.4], color=MUTED, linestyle=(0, (3, 2)))
    axes.set_yticks(range(len(rows)), [score.domain or "all domains" for score in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("score (dashed: chance)")
    axes.xaxis.set_major_locator(MaxNLocator(6))
    return figure
