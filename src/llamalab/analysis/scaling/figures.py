"""The figures of a token study. Each takes a law and plain numbers; where the law is not identified, draw none."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from llamalab.analysis.figure_style import ARM_COLOURS, INK, MUTED, legend_above, new_figure, styled
from llamalab.analysis.scaling.bootstrap import Bootstrap
from llamalab.analysis.scaling.inference import COMPUTE, Demand, break_even_tokens, cheapest, plan
from llamalab.analysis.scaling.law import Floats, ScalingLaw, training_flops
from llamalab.analysis.scaling.runs import finished
from llamalab.common import formats

COMPACT = FuncFormatter(lambda value, _: formats.compact()(value).replace(" ", ""))
POINTS = 121  # of a curve


@styled
def loss_against_tokens(runs: pd.DataFrame, law: ScalingLaw, resampled: Bootstrap | None) -> Figure:
    """Final losses against training tokens, a colour a size: runs as dots, the law as a line, its band shaded.

    Runs that diverged are crosses on the upper edge.
    """
    figure, axes = new_figure(3.3)
    for colour, (n, members) in zip(_colours(runs["n"].nunique()), runs.groupby("n"), strict=True):
        size, kept = float(n), finished(members)
        axes.plot(kept["d"], kept["loss"], "o", color=colour, markersize=4, label=COMPACT(size))
        tokens = _spread(members["d"].min(), members["d"].max(), margin=1.25)
        axes.plot(tokens, law.loss(size, tokens), color=colour, linewidth=1.4)
        if resampled is not None:
            axes.fill_between(tokens, *resampled.band(size, tokens), color=colour, alpha=0.18, linewidth=0)
        lost = members.loc[members["diverged"].astype(bool), "d"]
        axes.plot(lost, np.ones(len(lost)), "x", color=colour, transform=axes.get_xaxis_transform(), clip_on=False)
    _frame_losses(axes, finished(runs))
    axes.set_xlabel("training tokens")
    axes.set_ylabel("validation loss (nats/token)")
    _log_axes(axes, "x")
    legend_above(figure, axes)
    return figure


@styled
def iso_loss(runs: pd.DataFrame, law: ScalingLaw) -> Figure:
    """Sizes and tokens of equal loss, with the runs as dots; dashed the sizes that are optimal for training alone."""
    figure, axes = new_figure(3.6)
    kept = finished(runs)
    tokens, sizes = _spread(kept["d"].min(), kept["d"].max(), 2.5), _spread(kept["n"].min(), kept["n"].max(), 2.0)
    losses = law.loss(sizes[:, None], tokens[None, :])
    # equal steps of loss would leave the well-trained corner empty; squared ones crowd the lines towards it
    levels = losses.min() + (losses.max() - losses.min()) * np.linspace(0, 1, 10)[1:-1] ** 2
    levels = np.unique(levels.round(2))
    axes.set_xlim(tokens[0], tokens[-1])
    axes.set_ylim(sizes[0], sizes[-1])
    _log_axes(axes, "xy")
    lines = axes.contour(tokens, sizes, losses, levels=levels, colors=ARM_COLOURS[0], linewidths=1)
    axes.clabel(lines, fmt="%.2f", fontsize=8, inline_spacing=2, manual=_label_places(law, levels, tokens, sizes))
    axes.plot(kept["d"], kept["n"], "o", color=INK, markersize=4, label="runs")
    budgets = np.geomspace(training_flops(sizes[0], tokens[0]), training_flops(sizes[-1], tokens[-1]), POINTS)
    best_n, best_d = law.optimum(budgets)
    axes.plot(best_d, best_n, color=ARM_COLOURS[1], linestyle=(0, (4, 2)), label="training-optimal")
    axes.set_xlabel("training tokens")
    axes.set_ylabel("parameters")
    legend_above(figure, axes)
    return figure


@styled
def total_cost(law: ScalingLaw, loss: float, shares: Sequence[float], most_tokens: float) -> Figure:
    """FLOP over training and use of models of one loss, as multiples of the training-optimal model's.

    Dots are where a smaller model has earned its longer training back.

    Args:
        law: says how many tokens each size needs.
        loss: of all the models, in nats a token.
        shares: their sizes as parts of the training-optimal size, below 1; one that cannot reach the loss is left out.
        most_tokens: greatest number of inference tokens; the axis covers four decades below it.
    """
    figure, axes = new_figure(3.2)
    best_n, best_d = law.optimum_for(loss)
    tokens = np.geomspace(most_tokens / 1e4, most_tokens, POINTS)
    reference = np.array([plan(best_n, best_d, Demand(0.0, t), COMPUTE).total for t in tokens])
    axes.axhline(1, color=INK, linewidth=1.4, label=COMPACT(best_n))
    for colour, share in zip(_colours(len(shares)), shares, strict=True):
        n = share * best_n
        d = law.tokens_for(loss, n)
        if math.isfinite(d):
            costs = np.array([plan(n, d, Demand(0.0, t), COMPUTE).total for t in tokens])
            axes.plot(tokens, costs / reference, color=colour, linewidth=1.6, label=COMPACT(n))
            even = break_even_tokens(n, d, best_n, best_d)
            if tokens[0] <= even <= tokens[-1]:
                axes.plot(even, 1, "o", color=colour, markersize=4)
    lowest = [cheapest(law, loss, Demand(0.0, t), COMPUTE).total for t in tokens]
    axes.plot(tokens, lowest / reference, color=MUTED, linestyle=(0, (3, 2)), label="cheapest")
    _log_axes(axes, "x")
    axes.set_xlabel("inference tokens")
    axes.set_ylabel("total FLOP / training-optimal's")
    legend_above(figure, axes)
    return figure


@styled
def cheapest_size(law: ScalingLaw, resampled: Bootstrap | None, loss: float, most_tokens: float) -> Figure:
    """The size of the fewest FLOP over training and use against inference tokens; dashed that for training alone.

    The axis covers four decades below `most_tokens`. The band holds the sizes by the resampled laws; one that does not
    reach the loss counts as asking for an endless size.
    """
    figure, axes = new_figure(3.0)
    tokens = np.geomspace(most_tokens / 1e4, most_tokens, POINTS)
    axes.axhline(law.optimum_for(loss)[0], color=INK, linewidth=1.2, linestyle=(0, (3, 2)), label="training alone")
    line = _cheapest_sizes(law, loss, tokens)
    axes.plot(tokens, line, color=ARM_COLOURS[0], linewidth=1.8, label="training and use")
    axes.set_yscale("log")
    if resampled is not None:
        # a quantile between finite and endless sizes is one of the two, never their mean
        ends = [(1 - resampled.confidence) / 2, (1 + resampled.confidence) / 2]
        all_sizes = np.array([_cheapest_sizes(one, loss, tokens) for one in resampled.laws])
        low, high = np.quantile(all_sizes, ends, axis=0, method="inverted_cdf")
        shown = line.max() * 10
        label = f"{100 * resampled.confidence:g}% of refits"
        axes.fill_between(
            tokens, low, np.minimum(high, shown), color=ARM_COLOURS[0], alpha=0.18, linewidth=0, label=label
        )
        axes.set_ylim(top=min(shown, 1.3 * high.max()))
    _log_axes(axes, "xy")
    axes.set_xlabel("inference tokens")
    axes.set_ylabel(f"parameters at loss {loss:.3g}")
    legend_above(figure, axes)
    return figure


def _cheapest_sizes(law: ScalingLaw, loss: float, tokens: Floats) -> Floats:
    if loss <= law.E:
        return np.full(len(tokens), math.inf)
    return np.array([cheapest(law, loss, Demand(0.0, t), COMPUTE).n for t in tokens])


def _spread(low: float, high: float, margin: float) -> Floats:
    return np.geomspace(low / margin, high * margin, POINTS)


def _label_places(law: ScalingLaw, levels: Floats, tokens: Floats, sizes: Floats) -> list[tuple[float, float]]:
    """A point of each line of equal loss in the empty strips below and to the right of the runs."""
    n, d = sizes[0] ** 0.92 * sizes[-1] ** 0.08, tokens[0] ** 0.06 * tokens[-1] ** 0.94
    below = [(float(law.tokens_for(level, n)), float(n)) for level in levels]
    right = [(float(d), float(law.parameters_for(level, d))) for level in levels]
    left, top = tokens[0] ** 0.95 * tokens[-1] ** 0.05, sizes[0] ** 0.07 * sizes[-1] ** 0.93
    return [low for low in below if left < low[0] < d] + [edge for edge in right if n < edge[1] < top]


def _colours(count: int) -> list[str]:
    return [ARM_COLOURS[i % len(ARM_COLOURS)] for i in range(count)]


def _frame_losses(axes: Axes, kept: pd.DataFrame) -> None:
    """The range of the losses measured, whatever the curves do beyond them."""
    margin = 0.08 * (kept["loss"].max() - kept["loss"].min()) + 1e-3
    axes.set_ylim(kept["loss"].min() - margin, kept["loss"].max() + margin)


def _log_axes(axes: Axes, names: str) -> None:
    """Logarithmic axes (x, y or xy) with 300M or 3B in place of powers of ten; few ticks, however short the range."""
    for name in names:
        axis = axes.xaxis if name == "x" else axes.yaxis
        axes.set(**{f"{name}scale": "log"})
        low, high = axis.get_view_interval()
        decades = math.log10(high / low)
        steps = (1.0,) if decades > 2.5 else (1.0, 3.0) if decades > 1.2 else (1.0, 2.0, 5.0)
        axis.set_major_locator(LogLocator(subs=steps))
        axis.set_major_formatter(COMPACT)
        axis.set_minor_locator(NullLocator())
        axis.set_minor_formatter(NullFormatter())
