"""Our scores beside the paper's, on the page: every comparison.json that `llamalab eval` left."""

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llamalab.analysis.records import require_field
from llamalab.common import comparison_files, formats
from llamalab.common.comparison_files import DIGITS, Comparison
from llamalab.common.files import read_json
from llamalab.common.tables import Column, Table

KEYS = ("suite", "checkpoint", "tables", "stock", "models", "compared_with", "why", "limit")


@dataclass(frozen=True)
class Compared:
    """A comparison and what was scored: the run directory, relative to the folder it was found in."""

    subject: str
    content: Comparison

    @property
    def title(self) -> str:
        """What was scored on what."""
        return f"{self.subject} on {self.content['suite']}"

    @property
    def key(self) -> str:
        """Names its files and tables."""
        return re.sub(r"[^A-Za-z0-9]+", "_", f"{self.subject}_{self.content['suite']}").strip("_")

    @property
    def tasks(self) -> set[str]:
        """The tasks whose scores its tables show."""
        rows = [row for table in self.content["tables"] for row in table["rows"]] + self.content["stock"]
        return {row["task"] for row in rows if row["task"] is not None}

    @property
    def headline(self) -> str:
        """What it came to."""
        return comparison_files.headline(self.content)

    def tables(self, other_models: bool) -> list[Table]:
        """Its tables, named apart from those of other comparisons."""
        tables = comparison_files.tables_of(self.content, other_models)
        return [dataclasses.replace(table, name=f"{table.name}_{self.key}") for table in tables]


@dataclass(frozen=True)
class ComparisonSection:
    """What the page shows of one comparison."""

    title: str
    headline: str
    tables: list[Table]


def find_comparisons(folders: list[Path]) -> list[Compared]:
    """Every comparison below the folders, in the order of their paths. Raises UserError for a broken one."""
    found = []
    for folder in folders:
        for path in sorted(folder.glob(f"**/scores/*/{comparison_files.FILE}")):
            content = read_json(path)
            for key in KEYS:
                require_field(path, content, key)
            found.append(Compared(path.parents[2].relative_to(folder).as_posix(), content))
    return found


def write_comparisons(found: list[Compared], folder: Path, other_models: bool) -> None:
    """The files of every comparison, `<subject>_<suite>.{md,csv,tex,html}`."""
    for compared in found:
        comparison_files.write(compared.content, folder, other_models, compared.key)


def sections(found: list[Compared], other_models: bool) -> list[ComparisonSection]:
    """Every comparison for the page."""
    return [ComparisonSection(one.title, one.headline, one.tables(other_models)) for one in found]


def side_by_side(found: list[Compared]) -> list[Table]:
    """For each of the paper's tables that several subjects have scores for: a column a subject, LLaMA's beside them."""
    by_table: dict[str, list[tuple[Compared, dict[str, Any]]]] = {}
    for compared in found:
        for table in compared.content["tables"]:
            by_table.setdefault(table["name"], []).append((compared, table))
    return [_side_by_side(name, parts) for name, parts in by_table.items() if len(parts) > 1]


def _side_by_side(name: str, parts: list[tuple[Compared, dict[str, Any]]]) -> Table:
    compared, first = parts[0]
    models, digits = compared.content["models"], DIGITS[first["unit"]]
    number = formats.fixed(digits)
    columns = [Column("label", "benchmark", numeric=False)]
    rows = [{"label": row["label"], **row["reference"]} for row in first["rows"]]
    for one, table in parts:
        key = f"ours {one.key}"
        columns += [Column(key, one.title), Column(f"{key} value", "", readable=False)]
        columns.append(Column(f"{key} stderr", "", readable=False))
        for row, own in zip(rows, table["rows"], strict=True):
            error = "" if own["stderr"] is None else f" ± {number(own['stderr'])}"
            limited = "*" if own["partial"] else ""
            row[key] = None if own["value"] is None else number(own["value"]) + error + limited
            row[f"{key} value"], row[f"{key} stderr"] = own["value"], own["stderr"]
    shown = comparison_files.columns_shown({**compared.content, "compared_with": None}, first, False)
    columns += [Column(key, models[key]["label"], number) for key in shown]
    caption = (
        f"{comparison_files.heading(first)}: {first['measure']} ({first['unit']}), one standard error, the paper's "
        "LLaMA beside ours. A star: a part of the documents. A dash: missing; the tables of each say why."
    )
    return Table(f"side_by_side_{name}", caption, columns, rows)
