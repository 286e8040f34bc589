"""Studies as data to commit: a declaration and flat CSV files, from which the report comes out as from the runs.

For each study `<study>.json` (study.json and the chosen learning rates), `<study>_runs.csv` (result.json of every
run), `<study>_curves.csv` (their losses), `<study>_documents.csv` (the final validation by document and arm) and, where
the study declares probes, `<study>_probes.csv` (what each measured).
"""

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import pandas as pd

from llamalab.analysis.records import MISSING, Run, Study, check_study, read_metrics
from llamalab.common.errors import UserError
from llamalab.common.files import read_json, write_json, write_text

CURVE = ["step", "tokens", "train/loss", "validation/loss"]
# Of the rows of metrics.jsonl without a validation about so many are kept, evenly: a curve needs no more.
TRAINING_ROWS = 40
LOCAL = ("mlflow",)  # keys of study.json that mean something on one machine only


def write_archive(studies: list[Study], folder: Path) -> list[Path]:
    """Writes every study to `<folder>/<scale>/`; returns the files written."""
    written = []
    for study in studies:
        base = folder / study.scale / study.name
        record = {key: value for key, value in study.record.items() if key not in LOCAL}
        write_json(base.with_suffix(".json"), {"study": record, "learning_rates": study.rates})
        runs = [*study.runs, *study.sweep]
        rows = [_row(study, run) for run in runs]
        write_text(_file(base, "runs"), _csv(rows))
        write_text(_file(base, "curves"), _csv([row for run in runs for row in _curve(study, run)]))
        write_text(_file(base, "documents"), study.documents.to_csv(index=False, lineterminator="\n"))
        probes = [row for run in study.runs for row in _probes(study, run)]
        if probes:
            write_text(_file(base, "probes"), _csv(probes))
            written.append(_file(base, "probes"))
        written += [base.with_suffix(".json"), *(_file(base, part) for part in ("runs", "curves", "documents"))]
    return written


def read_archive(folder: Path) -> list[Study]:
    """Every study archived in `folder`, sorted by name. Raises UserError where there is none or a file is broken."""
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise UserError(f"records: no archived study in '{folder}'; name a folder such as experiments/results/nano")
    return [_read_study(path) for path in paths]


def _file(base: Path, part: str) -> Path:
    return base.parent / f"{base.name}_{part}.csv"


def _name(study: Study, run: Run) -> str:
    return run.path.relative_to(study.path).as_posix()


def _row(study: Study, run: Run) -> dict[str, Any]:
    facts = {"run": _name(study, run), "arm": run.arm, "seed": run.seed, "rate": run.rate, "state": run.status}
    return facts | {f"result.{key}": value for key, value in _flat(run.result or {})}


def _probes(study: Study, run: Run) -> list[dict[str, Any]]:
    found = {name: run.probe(name) for name in study.record.get("probes") or {}}
    return [{"run": _name(study, run), "probe": name, "measured": value} for name, value in found.items() if value]


def _flat(value: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested mappings with dotted keys. Names of domains hold no dots."""
    found: list[tuple[str, Any]] = []
    for key, entry in value.items():
        found += _flat(entry, f"{prefix}{key}.") if isinstance(entry, dict) else [(f"{prefix}{key}", entry)]
    return found


def _nested(flat: dict[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *parents, last = key.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return tree


def _csv(rows: list[dict[str, Any]]) -> str:
    """JSON in every field, bare where it is text that is no JSON; empty where a row has no such key."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([[_field(row[key]) if key in row else "" for key in columns] for row in rows])
    return text.getvalue()


def _field(value: Any) -> str:
    if isinstance(value, str) and value and not _is_json(value):
        return value
    return json.dumps(value, ensure_ascii=False)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except json.JSONDecodeError:
        return False
    return True


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _read_rows(path: Path) -> list[dict[str, Any]]:
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; archive the study again (llamalab report archive=...)") from None
    return [{key: _value(text) for key, text in row.items() if text} for row in rows]


def _curve(study: Study, run: Run) -> list[dict[str, Any]]:
    metrics = read_metrics(run) if run.ended else pd.DataFrame()
    if "validation/loss" not in metrics:
        return []
    training = metrics.index[metrics["validation/loss"].isna()]
    every = math.ceil(len(training) / TRAINING_ROWS) or 1
    kept = metrics[metrics["validation/loss"].notna() | metrics.index.isin(training[::every])]
    return [
        {"run": _name(study, run)} | {key: row[key] for key in CURVE if key in row and row[key] == row[key]}
        for row in kept[[key for key in CURVE if key in kept]].to_dict("records")
    ]


def _read_study(path: Path) -> Study:
    content = read_json(path)
    record, base = content["study"], path.with_suffix("")
    columns: dict[str, list[dict[str, Any]]] = {}
    for row in _read_rows(_file(base, "curves")):
        columns.setdefault(row.pop("run"), []).append(row)
    curves = {name: pd.DataFrame(rows, columns=CURVE) for name, rows in columns.items()}
    probes: dict[str, dict[str, Any]] = {}
    for row in _read_rows(_file(base, "probes")) if _file(base, "probes").is_file() else []:
        probes.setdefault(row["run"], {})[row["probe"]] = row["measured"]
    runs: list[Run] = []
    sweep: list[Run] = []
    for row in _read_rows(_file(base, "runs")):
        result = _nested({key.removeprefix("result."): value for key, value in row.items() if "." in key})
        run = Run(
            path=base / row["run"],
            study=record["name"],
            arm=row["arm"],
            seed=row["seed"],
            status=row["state"],
            result=result or None,
            rate=row["rate"],
            probes=probes.get(row["run"], {}),
            curve=curves.get(row["run"], pd.DataFrame({"step": [], "tokens": []})) if row["state"] != MISSING else None,
        )
        (runs if run.rate is None else sweep).append(run)
    check_study(path, record, [*runs, *sweep])
    documents = pd.read_csv(_file(base, "documents"))
    return Study(base, record, runs, sweep, content["learning_rates"], documents)
