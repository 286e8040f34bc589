"""The data audit that `llamalab data` left beside the tokens, as a table of the page: the paper's Table 1."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llamalab.analysis.records import Run, require_field
from llamalab.common import formats
from llamalab.common.files import read_json
from llamalab.common.tables import Column, Table


@dataclass(frozen=True)
class Audit:
    """One corpus: its table and what a reader should know about single sources."""

    table: Table
    notes: list[str]


def find_audits(artifacts_dir: Path, runs: list[Run]) -> list[Audit]:
    """The audit of every corpus that the runs trained on; corpora whose audit is not there are left out.

    Epochs are those of the longest of these runs.
    """
    budgets: dict[Path, int] = {}
    for run in runs:
        data, scale = run.config.get("data"), run.config.get("scale")
        if isinstance(data, dict) and isinstance(scale, dict) and "name" in data and "vocab_size" in scale:
            path = artifacts_dir / str(data["name"]) / f"bpe{scale['vocab_size']}" / "audit.json"
            budgets[path] = max(budgets.get(path, 0), int(scale.get("tokens", 0)))
    return [read_audit(path, budget) for path, budget in sorted(budgets.items()) if path.is_file()]


def read_audit(path: Path, budget: int) -> Audit:
    """The audit in the file, with epochs at a budget of tokens. Raises UserError naming the file if it is broken."""
    audit = read_json(path)
    sources, empty = require_field(path, audit, "sources"), audit.get("empty_slots", {})
    rows = [_row(path, name, source, budget) for name, source in sources.items()]
    rows += [{"source": name, "proportion": 0.0, "documents": 0, "tokens": 0} for name in empty]
    notes = [f"{name}: {source['note']}" for name, source in sources.items() if source.get("note")]
    notes += [f"{name} is empty: {reason}" for name, reason in empty.items()]
    return Audit(_table(path, budget, rows), notes)


def _row(path: Path, name: str, source: dict[str, Any], budget: int) -> dict[str, Any]:
    names = {"proportion": "sampling_proportion"} | {key: key for key in ("documents", "bytes", "tokens")}
    row = {column: require_field(path, source, key) for column, key in names.items()}
    validation = source.get("validation", {})
    return row | {
        "source": name,
        "epochs": row["proportion"] * budget / row["tokens"],
        "held_out_tokens": validation.get("tokens"),
        "overlap": validation.get("overlap_with_training"),
        "dropped": dropped_text(source.get("dropped", {})),
        "licences": "; ".join(source.get("licences", [])) or None,
    }


def dropped_text(rules: dict[str, dict[str, int]]) -> str:
    """What each rule took: whole documents, or text out of documents that stayed."""
    parts = []
    for rule, size in rules.items():
        name = rule.replace("_", " ")
        if size["documents"]:
            parts.append(f"{name}: {formats.count(size['documents'])} document{'s' * (size['documents'] != 1)}")
        elif size["bytes"]:
            parts.append(f"{name}: {formats.compact('B')(size['bytes'])} of text")
    return "; ".join(parts) or "nothing"


def _table(path: Path, budget: int, rows: list[dict[str, Any]]) -> Table:
    corpus, tokenizer = path.parts[-3], path.parts[-2]
    return Table(
        name=f"audit_{corpus}_{tokenizer}",
        caption=(
            f"Corpus {corpus}, tokenizer {tokenizer}: the training text of each source after cleaning. Epochs are for "
            f"a run of {formats.compact()(budget)} tokens; overlap is the share of held-out n-grams also in training."
        ),
        columns=[
            Column("source", "source", numeric=False),
            Column("proportion", "sampling proportion", formats.percent(1)),
            Column("epochs", "epochs", formats.significant(2)),
            Column("documents", "documents", formats.count),
            Column("bytes", "bytes of text", formats.compact("B")),
            Column("tokens", "tokens", formats.compact()),
            Column("held_out_tokens", "held-out tokens", formats.compact()),
            Column("overlap", "overlap", formats.percent(1)),
            Column("dropped", "dropped, by rule", numeric=False, wrap=True),
            Column("licences", "licence", numeric=False, wrap=True),
        ],
        rows=rows,
    )
