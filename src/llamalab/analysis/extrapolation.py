"""Losses at lengths beyond the training length: from the runs' extrapolation.json to a table and a figure."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llamalab.analysis.extra import Drawing, Extra
from llamalab.analysis.figure_style import WIDTH, arm_colours, styled
from llamalab.analysis.records import Run, Study, require_field
from llamalab.analysis.statistics import Difference
from llamalab.analysis.statistics.comparison import compare
from llamalab.common import formats
from llamalab.common.tables import Column, Table

PROBE = "extrapolation"
OWN = "own"  # the encoding that a run was trained with
METRICS = {"loss": "all targets", "last_loss": "late targets"}
COLUMNS = ["arm", "seed", "position", "multiple", "length", *METRICS, "reason"]
LINE_STYLES = ("-", "--", ":", "-.")


class ExtrapolationAnalysis:
    """What the study of lengths adds to its section of the page; a study without measured runs gets nothing."""

    def __call__(self, study: Study) -> Extra:
        """Table, figure, and what is said to the claim that the baseline extrapolates best (`longest`)."""
        frame = read_extrapolation(study.runs)
        if frame["loss"].isna().all():
            return Extra(sentences=["No run has been measured at other lengths."])
        confidence = float(study.record["confidence"])
        caption = (
            "Mean loss over seeds against the length of the sequences, the same targets at every length: all of them "
            "(left), and those with half a window of context or more (right). RoPE scalings are put in after training."
        )
        figure = extrapolation_figure(frame, arm_colours(study.arms, study.baseline))
        return Extra(
            tables=[extrapolation_table(study, frame, confidence)],
            figures=[Drawing("extrapolation", figure, caption)],
            claims={"longest": least_change(frame, study.baseline, confidence)},
        )


def read_extrapolation(runs: list[Run]) -> pd.DataFrame:
    """The rows of every run that was measured: `arm`, `seed`, `position`, `multiple`, `length` (tokens), `loss`,
    `last_loss` (nats per token; NaN where there is none), `reason` (why there is none, or None).

    Raises:
        UserError: a file lacks what is read from it.
    """
    rows = []
    for run in runs:
        measured, path = run.probe(PROBE), run.path / f"{PROBE}.json"
        if measured is not None:
            rows += [
                {"arm": run.arm, "seed": run.seed} | {key: require_field(path, row, key) for key in COLUMNS[2:]}
                for row in require_field(path, measured, "rows")
            ]
    frame = pd.DataFrame(rows, columns=COLUMNS)
    return frame.astype(dict.fromkeys(METRICS, float) | {"reason": object})


def _first_length(group: pd.DataFrame, metric: str) -> Mapping[int, float]:
    """Seed to loss at the shortest length, which is the training length."""
    shortest = group[group["length"] == group["length"].min()]
    return dict(zip(shortest["seed"], shortest[metric], strict=True))


def changes(frame: pd.DataFrame, metric: str, confidence: float) -> dict[tuple[str, str, int], Difference]:
    """By arm, position and length: the loss minus that of the same run at its shortest length.

    The interval is the t-interval over seeds of these differences. All runs are measured on the same text, so it holds
    nothing of the choice of the text. No entry where no seed has a loss.
    """
    found = {}
    for (arm, position), group in frame.groupby(["arm", "position"], sort=False):
        reference = _first_length(group, metric)
        for length, at_length in group.dropna(subset=[metric]).groupby("length"):
            losses = dict(zip(at_length["seed"], at_length[metric], strict=True))
            comparison = compare(losses, reference, paired=True, confidence=confidence)
            found[str(arm), str(position), int(length)] = comparison.difference
    return found


def least_change(frame: pd.DataFrame, arm: str, confidence: float) -> tuple[str, bool | None]:
    """Whether the loss of late targets changes less in this arm than in any other, from the shortest length to the
    longest, each under its own encoding.

    By Welch intervals over seeds of the difference of changes, Bonferroni's level over the other arms: True if all
    exclude zero in the arm's favour, False if one does against it, else None. Arms without a loss at the longest length
    (learned positions) take no part.
    """
    own = frame[frame["position"] == OWN]
    ends = own.pivot_table(index=["arm", "seed"], columns="length", values="last_loss")
    change = (ends[ends.columns.max()] - ends[ends.columns.min()]).dropna()
    by_arm = {str(name): part.droplevel("arm").to_dict() for name, part in change.groupby("arm")}
    ours = by_arm.pop(arm, {})
    if not ours or not by_arm:
        return "no two arms were measured at the longest length", None
    level = 1 - (1 - confidence) / len(by_arm)
    against = {
        name: compare(theirs, ours, paired=False, confidence=level).difference for name, theirs in by_arm.items()
    }
    best = min(against, key=lambda name: against[name].estimate)
    mean = sum(ours.values()) / len(ours)
    text = (
        f"late targets' loss changes by {formats.signed(3)(mean)} up to length {ends.columns.max():,}; "
        f"least in another arm: {best}, {formats.signed(3)(mean + against[best].estimate)}"
    )
    if any(difference.high < 0 for difference in against.values()):
        return text, False
    return text, True if all(difference.low > 0 for difference in against.values()) else None


def _interval(difference: Difference) -> str:
    if not difference.has_interval:
        return formats.NOTHING
    return f"{formats.signed(3)(difference.low)} to {formats.signed(3)(difference.high)}"


def extrapolation_table(study: Study, frame: pd.DataFrame, confidence: float) -> Table:
    """One row an arm, encoding and length; both losses with their change from the training length.

    Args:
        study: whose runs they are; orders the arms.
        frame: of `read_extrapolation`.
        confidence: coverage of the intervals, such as 0.95.
    """
    all_changes = {metric: changes(frame, metric, confidence) for metric in METRICS}
    nothing = Difference(math.nan, math.nan, math.nan)
    rows = []
    order = {arm: place for place, arm in enumerate(study.arms)}
    frame = frame.sort_values("arm", key=lambda arms: arms.map(order), kind="stable")
    for (arm, position, length), group in frame.groupby(["arm", "position", "length"], sort=False):
        multiple = group["multiple"].iloc[0]
        row: dict[str, Any] = {"arm": arm, "position": position, "length": length, "multiple": multiple}
        row["seeds"] = int(group["loss"].notna().sum())
        for metric in METRICS:
            change = all_changes[metric].get((arm, position, length), nothing)
            at_start = multiple == frame["multiple"].min()  # nothing to differ from
            row[metric] = group[metric].mean()
            row[f"{metric}_change"] = math.nan if at_start else change.estimate
            row[f"{metric}_low"], row[f"{metric}_high"] = change.low, change.high
            row[f"{metric}_interval"] = formats.NOTHING if at_start else _interval(change)
        row["reason"] = next(iter(group["reason"].dropna()), None)
        rows.append(row)
    level = f"{100 * confidence:g}%"
    losses = []
    for metric, title in METRICS.items():
        losses += [
            Column(metric, f"loss, {title}", formats.fixed(3)),
            Column(f"{metric}_change", "change", formats.signed(3)),
            Column(f"{metric}_low", "low", readable=False),
            Column(f"{metric}_high", "high", readable=False),
            Column(f"{metric}_interval", f"{level} interval"),
        ]
    return Table(
        name=f"{study.key}_extrapolation",
        caption=(
            f"{study.name} at scale {study.scale}: loss (nats per token, mean over seeds) on sequences longer than in "
            "training, over all targets and over late ones, which have half a window of context or more; the same "
            f"targets at every length. Change: from the shortest length, with a {level} t-interval over seeds, which "
            "leaves out the choice of the text. Encoding: own is the one trained with; others are RoPE scalings "
            "put in afterwards."
        ),
        columns=[
            Column("arm", "arm", numeric=False),
            Column("position", "encoding", numeric=False),
            Column("length", "length", formats.count),
            Column("multiple", "times", readable=False),
            Column("seeds", "seeds", formats.count),
            *losses,
            Column("reason", "no loss because", numeric=False, wrap=True),
        ],
        rows=rows,
    )


@styled
def extrapolation_figure(frame: pd.DataFrame, colours: dict[str, str]) -> Figure:
    """Mean loss over seeds against length, over all targets (left) and over late ones (right).

    One line an arm in its colour; what a scaling makes of an arm has the arm's colour, broken.

    Args:
        frame: of `read_extrapolation`, with at least one loss.
        colours: arm to colour.
    """
    figure, panels = plt.subplots(1, 2, figsize=(WIDTH, 3.6), layout="constrained", sharey=True)
    for axes, (metric, title) in zip(panels, METRICS.items(), strict=True):
        _draw(axes, frame.dropna(subset=[metric]), metric, colours)
        axes.set_title(title, fontsize="medium")
        axes.set_xlabel("length (tokens)")
        lengths = sorted(frame["length"].unique())
        axes.set_xscale("log", base=2)
        axes.set_xticks(lengths, [_tokens(length) for length in lengths], fontsize="small")
        axes.minorticks_off()
    panels[0].set_ylabel("loss (nats/token)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=3, columnspacing=1.2, handlelength=2.2)
    return figure


def _draw(axes: Axes, frame: pd.DataFrame, metric: str, colours: dict[str, str]) -> None:
    scalings = [position for position in frame["position"].unique() if position != OWN]
    styles = {OWN: LINE_STYLES[0]} | {
        position: LINE_STYLES[1 + place % (len(LINE_STYLES) - 1)] for place, position in enumerate(scalings)
    }
    for arm in colours:
        for position, group in frame[frame["arm"] == arm].groupby("position", sort=False):
            mean = group.groupby("length")[metric].mean()
            name = arm if position == OWN else str(position)
            # a line of one length (learned positions) shows as its dot
            axes.plot(
                mean.index,
                mean,
                color=colours[arm],
                linestyle=styles[str(position)],
                linewidth=1.5,
                marker="o",
                markersize=3,
                label=name,
            )


def _tokens(length: int) -> str:
    """256, 512, 1k, 2k: thousands as 1,024."""
    return f"{length // 1024}k" if length % 1024 == 0 else str(length)
