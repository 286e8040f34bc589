"""How figures look and how they are written: the same bytes from the same numbers, readable at phone width."""

import functools
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast
from xml.sax.saxutils import quoteattr

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llamalab.common.files import disk_errors, write_text

Draw = TypeVar("Draw", bound=Callable[..., object])

INK, MUTED, GRID = "#1f2328", "#59636e", "#d8dee4"
# Okabe and Ito's palette, told apart by readers with colour-vision deficiencies; the baseline takes INK.
ARM_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f5fd0", "#8c6d31")
WIDTH = 4.2  # inches, 403 pixels: about a phone's width, so that text keeps its size there

STYLE: Any = {
    "svg.hashsalt": "llamalab",  # element names in the SVG depend on the content alone
    "svg.fonttype": "none",  # text stays text: selectable, and in the reader's own font
    "font.family": "sans-serif",
    "font.size": 9.5,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


def styled(draw: Draw) -> Draw:
    """Makes a function draw in the common style, without touching matplotlib's settings for others."""

    @functools.wraps(draw)
    def in_style(*arguments: Any, **keywords: Any) -> Any:
        with plt.rc_context(STYLE):
            return draw(*arguments, **keywords)

    return cast(Draw, in_style)


def new_figure(height: float) -> tuple[Figure, Axes]:
    """An empty figure of the common width and a height in inches."""
    return plt.subplots(figsize=(WIDTH, height), layout="constrained")


def legend_above(figure: Figure, axes: Axes) -> None:
    """The legend in a row above the axes, where it hides no line."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=4, columnspacing=1.2, handlelength=1.4)


def arm_colours(arms: list[str], baseline: str) -> dict[str, str]:
    """A colour for each arm: ink for the baseline, the palette for the others in their declared order."""
    others = [arm for arm in arms if arm != baseline]
    return {baseline: INK} | {arm: ARM_COLOURS[i % len(ARM_COLOURS)] for i, arm in enumerate(others)}


def page_colour(colour: str) -> str:
    """The page's variable for a figure's colour: it has a lighter twin in the dark theme (templates/page.css)."""
    names = {INK: "--ink", MUTED: "--muted", GRID: "--line"}
    names |= {arm: f"--arm-{number}" for number, arm in enumerate(ARM_COLOURS, start=1)}
    return f"var({names[colour]})"


@styled
def write_figure(figure: Figure, folder: Path, name: str) -> str:
    """Writes <name>.svg and <name>.png into `folder`, without dates or program names, and returns the SVG text."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = buffer.getvalue()
    write_text(folder / f"{name}.svg", svg)
    with disk_errors(folder):
        figure.savefig(folder / f"{name}.png", dpi=160, facecolor="white", metadata={"Software": None})
    plt.close(figure)
    return svg


def inline_svg(svg: str, name: str, label: str) -> str:
    """The SVG as part of a page: no prologue, element names of its own, colours that follow the page's theme."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>\s*", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', body)
    body = re.sub(r'(xlink:href="#|url\(#)', rf"\1{name}-", body)
    for colour in (INK, MUTED, GRID, *ARM_COLOURS):
        body = body.replace(colour, page_colour(colour))
    body = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", body, count=1)
    body = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", body, count=1)
    return body.replace("<svg ", f'<svg role="img" aria-label={quoteattr(label)} ', 1)
