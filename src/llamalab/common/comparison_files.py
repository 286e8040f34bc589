"""How a comparison with the paper is read: comparison.json as tables, for the files beside it and for the report."""

import dataclasses
import html
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from rich import box
from rich.console import Group
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from llamalab.common import formats
from llamalab.common.files import write_text
from llamalab.common.tables import Column, Table

FILE = "comparison.json"
STEM = "comparison"
READABLE = (".md", ".csv", ".tex", ".html")
OURS = "LLaMA"  # whose columns are always shown
VERSIONS = ("num_fewshot", "version", "prompt_version")
DIGITS = {"percent": 1, "fraction": 3, "perplexity": 2}
Comparison = dict[str, Any]

STYLE = """body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 84rem; padding: 0 1rem; }
table { border-collapse: collapse; margin: 2rem 0; font-size: 14px; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: #59636e; padding-bottom: .5rem; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid #d8dee4; text-align: left; vertical-align: top; }
td { white-space: nowrap; }
td.wrap { white-space: normal; min-width: 18rem; }
.number { text-align: right; }
"""


def remove(folder: Path) -> None:
    """Deletes an earlier comparison, so that it never stands beside other scores."""
    for name in (FILE, *(STEM + suffix for suffix in READABLE)):
        (folder / name).unlink(missing_ok=True)


def write(comparison: Comparison, folder: Path, other_models: bool, stem: str = STEM) -> None:
    """Writes the comparison as Markdown, CSV, LaTeX and HTML: `<stem>.md` and so on."""
    tables = tables_of(comparison, other_models)
    title, said = f"{comparison['suite']}: {comparison['checkpoint']}", headline(comparison)
    lines = [f"# {title}\n\n{said}\n", *(table.markdown() for table in tables)]
    write_text(folder / f"{stem}.md", "\n".join(lines))
    write_text(folder / f"{stem}.csv", csv(comparison))
    head = f"% {title}\n% {said}\n% needs \\usepackage{{booktabs,graphicx}}\n"
    write_text(folder / f"{stem}.tex", head + "\n".join(table.latex() for table in tables))
    page = (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{html.escape(title)}</title>\n'
        f"<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{html.escape(title)}</h1>\n"
        f"<p>{html.escape(said)}</p>\n" + "\n".join(table.html() for table in tables) + "\n</body>\n</html>\n"
    )
    write_text(folder / f"{stem}.html", page)


def tables_of(comparison: Comparison, other_models: bool) -> list[Table]:
    """A table for each of the paper's, and one of lm-eval's stock metrics if there are any."""
    tables = [_paper_table(comparison, table, other_models) for table in comparison["tables"]]
    return tables + ([_stock_table(comparison)] if comparison["stock"] else [])


def headline(comparison: Comparison) -> str:
    """What the comparison came to, and with which column it was made and why."""
    counts = dict.fromkeys(("within 2 stderr", "beyond 2 stderr", "not judged"), 0)
    for table in comparison["tables"]:
        for row in table["rows"]:
            if row["verdict"] is not None:
                counts[row["verdict"]] += 1
    within, beyond, unjudged = counts.values()
    if not within + beyond + unjudged:
        return str(comparison["why"])
    label = comparison["models"][comparison["compared_with"]]["label"]
    judged = (
        f"Of {within + beyond} rows that can be judged, {beyond} differ from {label} by more than 2 standard errors"
    )
    return f"{judged}; {unjudged} cannot. {comparison['why']}"


def heading(table: dict[str, Any]) -> str:
    """What the table is called."""
    return f"Table {table['number']}: {table['title']}" if table["number"] else str(table["title"])


def gaps(comparison: Comparison, table: dict[str, Any]) -> list[str]:
    """The sentences that say how the table falls short of the paper's; none if it is whole."""
    said = []
    if table["scored"] < len(table["rows"]):
        said.append(f"Partial: {table['scored']} of {len(table['rows'])} rows were scored.")
    unknown = comparison["limit"] is not None and any(row["documents"] is None and row["n"] for row in table["rows"])
    if comparison["limit"] is not None and (unknown or any(row["partial"] for row in table["rows"])):
        said.append(f"Partial: only the first {comparison['limit']:,} documents of each task were scored (limit).")
    elif any(row["partial"] for row in table["rows"]):
        said.append("Partial: some rows rest on a part of their documents.")
    return said


def columns_shown(comparison: Comparison, table: dict[str, Any], other_models: bool) -> list[str]:
    """The models that the readable table has a column for, LLaMA's and the compared one always."""
    compared = comparison["compared_with"]
    llama = [key for key in table["models"] if comparison["models"][key]["parameters"] is not None]
    others = [key for key in table["models"] if key not in llama and (other_models or key == compared)]
    return [*others, *llama]


def _paper_table(comparison: Comparison, table: dict[str, Any], other_models: bool) -> Table:
    compared, digits = comparison["compared_with"], DIGITS[table["unit"]]
    number, shown = formats.fixed(digits), columns_shown(comparison, table, other_models)
    columns = [
        Column("label", "benchmark", numeric=False),
        Column("value", "ours", number),
        Column("stderr", "stderr", formats.fixed(digits + 1)),
    ]
    for key in shown:
        mark = " (compared)" if key == compared else ""
        columns.append(Column(key, comparison["models"][key]["label"] + mark, number))
    if compared is not None:
        columns += [
            Column("difference", "difference", formats.signed(digits)),
            Column("verdict", "verdict", numeric=False),
        ]
    columns += [
        Column("documents_text", "documents"),
        Column("num_fewshot", "shots", formats.count),
        Column("versions", "task, prompt version"),
        Column("remarks", "notes", numeric=False, wrap=True),
    ]
    rows = [
        {
            **row,
            **row["reference"],
            "documents_text": documents_text(row),
            "versions": versions_text(row),
            "remarks": "; ".join(remarks(comparison, row, shown)) or None,
        }
        for row in table["rows"]
    ]
    sentences = [f"{heading(table)}: {table['measure']} ({table['unit']}).", *gaps(comparison, table)]
    sentences += [f"{note[:1].upper()}{note[1:]}." for note in table["notes"]]
    return Table(f"comparison_{table['name']}", " ".join(sentences), columns, rows)


def documents_text(row: dict[str, Any]) -> str | None:
    """How many documents were scored, and of how many if those are not all."""
    if row["n"] is None:
        return None
    return f"{row['n']:,} of {row['documents']:,}" if row["partial"] else f"{row['n']:,}"


def versions_text(row: dict[str, Any]) -> str | None:
    """The versions of the task, which is that of its metrics, and of its prompt."""
    if row["version"] is None:
        return None
    return f"{row['version']}, {formats.text(row['prompt_version'])}"


def remarks(comparison: Comparison, row: dict[str, Any], shown: list[str]) -> list[str]:
    """What is missing and why, what keeps the row from being judged, and what is known of the models `shown`."""
    said = [f"missing: {row['missing']}"] if row["missing"] else list(row["notes"])
    by_note: dict[str, list[str]] = {}
    for figure in (figure for figure in row["variants"] if figure["model"] in shown):
        label = comparison["models"][figure["model"]]["label"]
        by_note.setdefault(figure["note"], []).append(f"{label} {figure['value']:g}")
    return said + [f"{note}: {', '.join(figures)}" for note, figures in by_note.items()]


def _stock_table(comparison: Comparison) -> Table:
    published = [(figure["model"], figure["title"]) for row in comparison["stock"] for figure in row["published"]]
    columns = [
        Column("task", "task", numeric=False),
        Column("metric", "metric", numeric=False),
        Column("value", "ours", formats.fixed(4)),
        Column("stderr", "stderr", formats.fixed(4)),
    ]
    for model, title in dict.fromkeys(published):
        columns.append(Column(f"{model} {title}", f"{comparison['models'][model]['label']}, {title}", formats.fixed(4)))
    columns += [
        Column("n", "documents", formats.count),
        Column("num_fewshot", "shots", formats.count),
        Column("version", "task version"),
        Column("prompt_version", "prompt version"),
    ]
    rows = [
        {**row, **{f"{figure['model']} {figure['title']}": figure["value"] for figure in row["published"]}}
        for row in comparison["stock"]
    ]
    caption = (
        "The same requests under other metrics than the paper's, beside what others published with lm-eval. Their "
        "prompts are lm-eval's own, so no difference is claimed."
    )
    return Table("comparison_stock_metrics", caption, columns, rows)


def csv(comparison: Comparison) -> str:
    """Every row of every table with every model's figure, exact, one line a row."""
    lines = [
        {
            "table": table["name"],
            **{key: row[key] for key in ("row", "label", "task", "metric", "value", "stderr", "n", "documents")},
            "unit": table["unit"],
            "compared_with": comparison["compared_with"],
            **{key: row[key] for key in ("difference", "verdict", "num_fewshot", "version", "prompt_version")},
            "notes": "; ".join(row["notes"]),
            "missing": row["missing"],
            **{model: row["reference"].get(model) for model in comparison["models"]},
            "source": " ".join(table["source"]),
            "verified": table["verified"],
        }
        for table in comparison["tables"]
        for row in table["rows"]
    ]
    lines += [
        {
            "table": "stock_metrics",
            "row": f"{row['task']}/{row['metric']}",
            "label": f"{row['task']} {row['metric']}",
            **{key: row[key] for key in ("task", "metric", "value", "stderr", "n")},
            "unit": "fraction",
            **{key: row[key] for key in ("num_fewshot", "version", "prompt_version")},
            **{figure["model"]: figure["value"] for figure in row["published"]},
            "source": " ".join(dict.fromkeys(name for figure in row["published"] for name in figure["source"])),
        }
        for row in comparison["stock"]
    ]
    return pd.DataFrame(lines).to_csv(index=False, lineterminator="\n")


def rich(comparison: Comparison, other_models: bool) -> Group:
    """The tables for the terminal: what the files say in more columns, in few."""
    return Group(*_rich_parts(comparison, other_models), Text(headline(comparison)))


def _rich_parts(comparison: Comparison, other_models: bool) -> Iterator[Any]:
    compared = comparison["compared_with"]
    for table in comparison["tables"]:
        digits = DIGITS[table["unit"]]
        number, difference = formats.fixed(digits), formats.signed(digits)
        shown = columns_shown(comparison, table, other_models)
        caption = gaps(comparison, table)
        grid = RichTable(
            title=f"{heading(table)}, {table['measure']} ({table['unit']})",
            caption=" ".join(caption) or None,
            title_justify="left",
            caption_justify="left",
            title_style="bold",
            box=box.SIMPLE_HEAD,
            pad_edge=False,
            padding=(0, 1, 0, 0),
        )
        grid.add_column("benchmark")
        for title in ("ours ± stderr", "n"):
            grid.add_column(title, justify="right", no_wrap=True)
        for key in shown:
            style = "bold" if key == compared else None
            grid.add_column(comparison["models"][key]["label"], justify="right", no_wrap=True, style=style)
        if compared is not None:
            grid.add_column("differs", justify="right", no_wrap=True)
            grid.add_column("2 stderr", no_wrap=True)
        for row in table["rows"]:
            error = "" if row["stderr"] is None else f" ± {formats.fixed(digits)(row['stderr'])}"
            cells = ["missing" if row["value"] is None else number(row["value"]) + error]
            cells.append("" if row["n"] is None else formats.count(row["n"]))
            cells += [number(row["reference"].get(key)) for key in shown]
            if compared is not None:
                cells += [difference(row["difference"]), (row["verdict"] or "").removesuffix(" 2 stderr")]
            grid.add_row(row["label"], *cells)
        yield grid
        by_remark: dict[str, list[str]] = {}
        for row in table["rows"]:
            said = remarks(comparison, row, shown)
            # the first remark of a partial row is its number of documents, which the caption says if all are limited
            for remark in said[1:] if row["partial"] and comparison["limit"] is not None else said:
                by_remark.setdefault(remark, []).append(row["label"])
        for remark, labels in by_remark.items():
            who = ", ".join(labels) if len(labels) <= 4 else f"{len(labels)} rows"
            yield Padding(Text(f"{who}: {remark}", style="dim"), (0, 0, 0, 1))
    if comparison["stock"]:
        # the scores themselves are in the summary that is printed above
        table = _stock_table(comparison)
        published = [row for row in table.rows if row["published"]]
        columns = [column for column in table.columns if column.key not in ("stderr", *VERSIONS)]
        if published:
            yield dataclasses.replace(table, columns=columns, rows=published).rich()
