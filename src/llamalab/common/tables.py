"""One table, several shapes: CSV with the exact values; Markdown, LaTeX, HTML and terminal with the readable ones."""

import html
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich import box
from rich.table import Table as RichTable

from llamalab.common.files import write_text
from llamalab.common.formats import Format, text


@dataclass(frozen=True)
class Column:
    """A column of the CSV and how the readable shapes show it.

    Args:
        key: its name in the CSV.
        title: its heading, with the unit.
        show: value to text.
        numeric: whether it is aligned to the right.
        readable: False keeps the column in the CSV only.
        wrap: whether long text may take several lines on the page.
    """

    key: str
    title: str
    show: Format = text
    numeric: bool = True
    readable: bool = True
    wrap: bool = False

    @property
    def style(self) -> str:
        """The class of its cells on the page."""
        return "number" if self.numeric else "wrap" if self.wrap else "text"


@dataclass(frozen=True)
class Table:
    """A named table with a caption that says what is shown and in which units.

    `rows` are mappings from column keys to exact values.
    """

    name: str
    caption: str
    columns: list[Column]
    rows: list[dict[str, Any]]

    @property
    def shown(self) -> list[Column]:
        """The columns of the readable shapes."""
        return [column for column in self.columns if column.readable]

    def frame(self) -> pd.DataFrame:
        """The exact values, one column a key."""
        return pd.DataFrame(self.rows, columns=[column.key for column in self.columns])

    def cells(self) -> Iterator[list[str]]:
        """The readable text of every row."""
        for row in self.rows:
            yield [column.show(row.get(column.key)) for column in self.shown]

    def csv(self) -> str:
        """Exact values; an empty field where there is none."""
        return self.frame().to_csv(index=False, lineterminator="\n")

    def markdown(self) -> str:
        """A GitHub-flavoured table below its caption."""
        lines = [
            self.caption,
            "",
            "| " + " | ".join(_escaped(column.title) for column in self.shown) + " |",
            "|" + "|".join("--:" if column.numeric else ":--" for column in self.shown) + "|",
        ]
        lines += ["| " + " | ".join(map(_escaped, cells)) + " |" for cells in self.cells()]
        return "\n".join(lines) + "\n"

    def latex(self) -> str:
        """A table environment as wide as the text, with booktabs' rules, its caption above."""
        frame = pd.DataFrame(list(self.cells()), columns=[column.title for column in self.shown])
        widths = ("r" if column.numeric else WRAPPED if column.wrap else "l" for column in self.shown)
        body = frame.to_latex(index=False, escape=True, column_format="".join(widths))
        for sign, command in LATEX_SIGNS.items():
            body = body.replace(sign, command)
        lines = [
            r"\begin{table}[ht]",
            rf"\caption{{{_latex_escaped(self.caption)}}}",
            rf"\label{{tab:{self.name.replace('_', '-')}}}",
            r"\resizebox{\textwidth}{!}{%",
            body.rstrip() + "}",
            r"\end{table}",
        ]
        return "\n".join(lines) + "\n"

    def html(self) -> str:
        """A table element with its caption."""

        def row(tag: str, cells: list[str]) -> str:
            pairs = zip(self.shown, cells, strict=True)
            inner = "".join(f'<{tag} class="{column.style}">{html.escape(cell)}</{tag}>' for column, cell in pairs)
            return f"<tr>{inner}</tr>"

        return "\n".join(
            [
                f'<table id="{self.name}">',
                f"<caption>{html.escape(self.caption)}</caption>",
                f"<thead>{row('th', [column.title for column in self.shown])}</thead>",
                "<tbody>",
                *(row("td", cells) for cells in self.cells()),
                "</tbody>\n</table>\n",
            ]
        )

    def rich(self) -> RichTable:
        """For the terminal."""
        table = RichTable(title=self.caption, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=0)
        for column in self.shown:
            table.add_column(column.title, justify="right" if column.numeric else "left", no_wrap=True)
        for cells in self.cells():
            table.add_row(*cells)
        return table

    def write(self, folder: Path) -> None:
        """Writes <name>.csv and <name>.md into `folder`."""
        write_text(folder / f"{self.name}.csv", self.csv())
        write_text(folder / f"{self.name}.md", self.markdown())


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")


# What LaTeX does not print from UTF-8 by itself, and the width of a column of sentences.
LATEX_SIGNS = {"\N{MINUS SIGN}": "$-$", "±": "$\\pm$", "\N{EN DASH}": "--", "∞": "$\\infty$"}
WRAPPED = "p{5cm}"


def _latex_escaped(text: str) -> str:
    signs = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(signs.get(sign, f"\\{sign}" if sign in "&%$#_{}" else sign) for sign in text)
