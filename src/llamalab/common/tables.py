"""One table, four shapes: CSV with the exact values; Markdown, HTML and terminal with the readable ones."""

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
