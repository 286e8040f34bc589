"""The paper's Figures 1 and 2 for our runs: training loss and benchmark scores against training tokens.

Figure 2 has the paper's curves in the same axes, since both are scores on the same questions. Figure 1 has them in a
panel of their own: a loss per token depends on tokenizer and text, so only the shapes compare.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from llamalab.analysis import paper_curves
from llamalab.analysis.figure_style import (
    ARM_COLOURS,
    INK,
    MUTED,
    WIDTH,
    new_figure,
    plt,
    styled,
    write_figure,
)
from llamalab.analysis.figures import TOKENS, Curves, mean_curve, smoothed
from llamalab.analysis.page import FigureBlock
from llamalab.analysis.records import Run, Study, read_metrics

FAR_APART = 20.0  # times as many tokens
PREFIX, STDERR = "eval/", "_stderr"
STYLES = ("-", (0, (4, 2)), (0, (1, 1.5)), (0, (4, 2, 1, 2)))  # of the paper's four models, and beyond eight colours


@dataclass(frozen=True)
class Scored:
    """A task's scores on the way: its first metric, and for each group of runs a table a seed (`tokens, loss`)."""

    task: str
    metric: str
    curves: Curves
    errors: Curves


def groups_of(studies: list[Study], singles: list[Run]) -> dict[str, list[Run]]:
    """Runs that differ in their seed only: arms of studies and single runs, by a name for people."""
    groups: dict[str, list[Run]] = {}
    for study in studies:
        for run in study.runs:
            groups.setdefault(f"{study.key}: {run.arm}", []).append(run)
    for run in singles:
        groups.setdefault("/".join(run.path.parts[-3:-1]), []).append(run)
    return groups


def loss_groups(studies: list[Study], singles: list[Run]) -> dict[str, list[Run]]:
    """Whose loss Figure 1 shows: single runs, and of each study the baseline; its section has the other arms.

    Studies that share their baseline's runs share its line.
    """
    wanted = {f"{study.key}: {study.baseline}" for study in studies}
    groups, seen = {}, set()
    for name, runs in groups_of(studies, singles).items():
        if ": " in name and name not in wanted:
            continue
        identity = tuple(sorted(str((run.result or {}).get("config_hash", run.path)) for run in runs))
        if identity not in seen:
            seen.add(identity)
            groups[name] = runs
    return groups


def _series(run: Run, column: str) -> pd.DataFrame | None:
    metrics = read_metrics(run)
    if column not in metrics:
        return None
    found = metrics[["tokens", column]].dropna().rename(columns={column: "loss"})
    return found if len(found) else None


def loss_curves(groups: dict[str, list[Run]]) -> Curves:
    """Smoothed training loss by group and seed."""
    curves: Curves = {}
    for name, runs in groups.items():
        series = [found for run in runs if (found := _series(run, "train/loss")) is not None]
        if series:
            curves[name] = [smoothed(one) for one in series]
    return curves


def scored(groups: dict[str, list[Run]]) -> list[Scored]:
    """Every task that a run was scored on during training; a task's first metric is its main one."""
    metric_of: dict[str, str] = {}
    for runs in groups.values():
        for run in runs:
            for column in read_metrics(run).columns:
                if column.startswith(PREFIX) and not column.endswith(STDERR):
                    task, _, metric = column.removeprefix(PREFIX).partition("/")
                    metric_of.setdefault(task, metric)
    found = []
    for task, metric in metric_of.items():
        curves: Curves = {}
        errors: Curves = {}
        for name, runs in groups.items():
            for run in runs:
                series = _series(run, f"{PREFIX}{task}/{metric}")
                if series is None:
                    continue
                error = _series(run, f"{PREFIX}{task}/{metric}{STDERR}")
                curves.setdefault(name, []).append(series)
                errors.setdefault(name, []).append(series.assign(loss=np.nan) if error is None else error)
        found.append(Scored(task, metric, curves, errors))
    return found


def _look(number: int) -> dict[str, Any]:
    """Colour and line of the n-th group: eight colours, then the same ones dashed."""
    cycle = len(ARM_COLOURS)
    return {"color": ARM_COLOURS[number % cycle], "linestyle": STYLES[number // cycle % len(STYLES)]}


def _draw(axes: Axes, curves: Curves, order: list[str], scale: float = 1.0) -> None:
    for name, seeds in curves.items():
        look = _look(order.index(name))
        if len(seeds) > 1:
            for seed in seeds:
                axes.plot(seed["tokens"], scale * seed["loss"], linewidth=0.6, alpha=0.5, **look)
        mean = mean_curve(seeds)
        marker = "o" if len(mean) <= 20 else None
        axes.plot(mean["tokens"], scale * mean["loss"], linewidth=1.8, marker=marker, markersize=3, label=name, **look)


def _draw_paper(axes: Axes, curves: dict[str, pd.DataFrame]) -> None:
    for (label, curve), style in zip(curves.items(), STYLES, strict=True):
        axes.plot(curve["tokens"], curve["value"], color=MUTED, linewidth=1.2, linestyle=style, label=f"paper, {label}")


def _tokens_axis(axes: Axes, curves: Curves) -> None:
    """From zero; logarithmic if the runs' lengths are orders of magnitude apart."""
    ends = [seed["tokens"].max() for seeds in curves.values() for seed in seeds]
    if ends and max(ends) > FAR_APART * min(ends):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(numticks=6))
        axes.minorticks_off()
    else:
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(TOKENS)


def _legend(figure: Figure, axes: Axes, columns: int) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=columns, columnspacing=1.2, handlelength=1.4)


@styled
def figure_1(curves: Curves, paper: dict[str, pd.DataFrame]) -> Figure:
    """Ours above, the paper's below, each with axes of its own."""
    figure, (ours, theirs) = plt.subplots(2, 1, figsize=(WIDTH, 5.4), layout="constrained")
    _draw(ours, curves, list(curves))
    late = [
        value
        for seeds in curves.values()
        for seed in seeds
        for value in seed.loc[seed["tokens"] >= 0.1 * seed["tokens"].max(), "loss"]
    ]
    margin = 0.05 * (max(late) - min(late)) + 1e-3
    ours.set_ylim(min(late) - margin, max(late) + margin)
    ours.set_title("ours: our tokenizer and text", loc="left", fontsize=9.5, color=INK)
    _draw_paper(theirs, paper)
    theirs.set_title("the paper's Figure 1: LLaMA's tokenizer and text", loc="left", fontsize=9.5, color=INK)
    _tokens_axis(ours, curves)
    _tokens_axis(theirs, {})
    for axes in (ours, theirs):
        axes.set_ylabel("training loss (nats/token)")
    theirs.set_xlabel("training tokens")
    theirs.legend(loc="upper right", ncols=2)
    _legend(figure, ours, 2)
    return figure


@styled
def figure_2(one: Scored, panel: paper_curves.Panel | None, order: list[str]) -> Figure:
    """A panel of Figure 2: score against tokens, which are on a logarithmic axis beside the paper's curves."""
    figure, axes = new_figure(3.3)
    scale = 100.0 if panel else 1.0
    _draw(axes, one.curves, order, scale)
    for name, seeds in one.curves.items():
        if len(seeds) == 1:
            (seed,), (error,) = seeds, one.errors[name]
            low, high = (scale * (seed["loss"].to_numpy() + sign * error["loss"].to_numpy()) for sign in (-1, 1))
            axes.fill_between(
                seed["tokens"], low, high, color=_look(order.index(name))["color"], alpha=0.15, linewidth=0
            )
    if panel:
        _draw_paper(axes, panel.curves)
        axes.axhline(panel.chinchilla, color=MUTED, linewidth=0.8, alpha=0.6)
        axes.annotate(
            "Chinchilla 70B", (0, panel.chinchilla), xycoords=("axes fraction", "data"), va="bottom", color=MUTED
        )
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(numticks=6))
        axes.minorticks_off()
        axes.xaxis.set_major_formatter(TOKENS)
        axes.set_ylabel("score (percent)")
    else:
        _tokens_axis(axes, one.curves)
        axes.set_ylabel(one.metric.replace("_", " "))
    axes.set_xlabel("training tokens")
    axes.set_title(panel.label if panel else one.task.replace("_", " "), loc="left", fontsize=9.5, color=INK)
    _legend(figure, axes, 3)
    return figure


def figure_blocks(studies: list[Study], singles: list[Run], folder: Path) -> list[FigureBlock]:
    """Figure 1 and every panel of Figure 2 that our runs have points for, written to `folder`."""
    blocks = []
    curves = loss_curves(loss_groups(studies, singles))
    if curves:
        caption = (
            "The paper's Figure 1. Above, training loss of our runs as a running mean over 5% of the run (the fall of "
            "the first tenth is above the frame; of a study the baseline). Below, the paper's curves, digitised. Loss "
            "per token depends on tokenizer and text, so only the shapes compare, and the axes are apart."
        )
        figure = figure_1(curves, paper_curves.training_loss())
        blocks.append(FigureBlock("paper_figure_1", write_figure(figure, folder, "paper_figure_1"), caption))
    groups = groups_of(studies, singles)
    panels = {panel.task: panel for panel in paper_curves.panels()}
    found = sorted(scored(groups), key=lambda one: one.task not in panels)
    order = [name for name in groups if any(name in one.curves for one in found)]
    for one in found:
        panel = panels.get(one.task)
        beside = ", with the paper's curves (digitised) for the same benchmark" if panel else ""
        caption = (
            f"As the paper's Figure 2: {one.task.replace('_', ' ')} ({one.metric.replace('_', ' ')}) during training"
            f"{beside}. Where there is one seed, one standard error over documents is shaded."
        )
        name = f"paper_figure_2_{one.task}"
        blocks.append(FigureBlock(name, write_figure(figure_2(one, panel, order), folder, name), caption))
    return blocks
