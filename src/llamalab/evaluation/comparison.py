"""Our scores beside the paper's: from a summary's rows and eval/reference to comparison.{json,md,csv,tex,html}.

What is claimed is little. A difference is shown against one column, the model that the checkpoint has the size of (or
the one that was asked for), and is marked where it is beyond two standard errors of our score. It is not judged where
something other than the model differs: some documents only, other data, another number of examples, no standard error.
"""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Group

from llamalab.common import comparison_files
from llamalab.common.files import write_json
from llamalab.evaluation import reference
from llamalab.evaluation.reference import Figure, PaperTable, Place

FILE = comparison_files.FILE
SAME_SIZE = 0.01  # a parameter count this close to a model's is taken to be of its size
BEYOND = 2.0  # standard errors
SCALE = {"percent": 100.0, "fraction": 1.0, "perplexity": 1.0}  # our score to the table's unit
WITHIN, OUTSIDE, UNJUDGED = "within 2 stderr", "beyond 2 stderr", "not judged"

Score = dict[str, Any]


def write(summary: dict[str, Any], out: Path, compare_with: str | None, other_models: bool) -> Group | None:
    """Compares the summary's scores with the paper's and writes the files into `out`.

    Args:
        summary: what becomes summary.json.
        compare_with: the model to show differences from, such as `7B`; None chooses by the parameter count.
        other_models: whether the readable tables also show the paper's columns of other models than LLaMA.

    Returns:
        The tables for the terminal; None if no score belongs in a table of the paper, and then nothing is written.

    Raises:
        UserError: no such model.
    """
    comparison_files.remove(out)
    comparison = compare(summary, compare_with)
    if not comparison["tables"]:
        return None
    write_json(out / FILE, comparison)
    comparison_files.write(comparison, out, other_models)
    return comparison_files.rich(comparison, other_models)


def compare(summary: dict[str, Any], compare_with: str | None) -> dict[str, Any]:
    """The content of comparison.json.

    Returns:
        Facts of the checkpoint; `compared_with` (a model's key or None) and `why`; `models` (key to label and
        parameters); `tables`, one for each of the paper's that a score or a missing task belongs to; and `stock`, the
        scores under lm-eval's own metrics. A row's figures are in its table's unit.
    """
    column, why = _column(summary.get("parameters"), compare_with)
    facts = ("suite", "checkpoint", "weights_sha256", "step", "tokens", "parameters")
    found = [
        table
        for name in reference.places().tables
        if (table := _table(name, summary, column)) and any(row["tried"] for row in table["rows"])
    ]
    return {
        **{key: summary.get(key) for key in facts},
        "limit": summary.get("inputs", {}).get("limit"),
        "compared_with": column,
        "why": why,
        "models": {key: {"label": m.label, "parameters": m.parameters} for key, m in reference.models().items()},
        "tables": found,
        "stock": _stock(summary),
    }


def _column(parameters: int | None, compare_with: str | None) -> tuple[str | None, str]:
    """The model to compare with, and one sentence that says why."""
    count = f"{parameters:,}" if parameters is not None else "an unknown number of"
    if compare_with is not None:
        key = reference.model_named(compare_with)
        label, known = reference.models()[key].label, reference.models()[key].parameters
        same = parameters is not None and known is not None and abs(parameters / known - 1) <= SAME_SIZE
        other = "" if same else f" This checkpoint has {count} parameters, so they are no test of reproduction."
        return key, f"Differences are from the paper's {label}, as asked.{other}"
    key_or_none = None if parameters is None else reference.model_of_size(parameters, SAME_SIZE)
    if key_or_none is None:
        return None, (
            f"No differences are shown: with {count} parameters this checkpoint is of the size of none of the paper's "
            "models (compare_with=7B shows them all the same)."
        )
    label = reference.models()[key_or_none].label
    return key_or_none, (
        f"Differences are from the paper's {label}, which has the size of this checkpoint; whether these are its "
        "weights, the size cannot say."
    )


def _table(name: str, summary: dict[str, Any], column: str | None) -> dict[str, Any]:
    table, places = reference.tables()[name], reference.places().tables[name]
    noted = [figure for figure in table.figures(name) if figure.note]
    rows = [
        _row(table, key, places[key], summary, column) | {"variants": _variants(noted, key)}
        for key in table.rows
        if key in places
    ]
    return {
        "name": name,
        "number": table.number,
        "title": table.title,
        "measure": table.measure,
        "unit": table.unit,
        "higher_is_better": table.higher_is_better,
        "source": table.source,
        "verified": table.verified,
        "models": table.models,
        "notes": table.notes,
        "scored": sum(row["value"] is not None for row in rows),
        "whole": all(row["value"] is not None and not row["partial"] for row in rows),
        "rows": rows,
    }


def _row(table: PaperTable, key: str, place: Place, summary: dict[str, Any], column: str | None) -> dict[str, Any]:
    row, published = table.rows[key], table.reference(key)
    score = _mean(place, summary) if place.mean_of else _score(place, summary)
    scale = SCALE[table.unit]
    value, stderr = (None if score[part] is None else scale * score[part] for part in ("value", "stderr"))
    documents = row.documents
    partial = value is not None and documents is not None and score["n"] != documents
    shots, papers = score["num_fewshot"], table.shots(key)
    obstacles = [f"{score['n']:,} of {documents:,} documents"] if partial else []
    obstacles += score["notes"]
    if value is not None and documents is None and summary.get("inputs", {}).get("limit") is not None:
        obstacles.append(f"only the first {score['n']:,} documents")
    samples = summary.get("inputs", {}).get("samples")
    if value is not None and samples is not None and "@" in score["metric"]:  # pass@k, maj1@k
        obstacles.append(f"{samples} samples a question, as asked")
    if value is not None and None not in (shots, papers) and shots != papers:
        obstacles.append(f"{shots}-shot, the paper {papers}-shot")
    paper = None if column is None else published.get(column)
    difference = None if value is None or paper is None else value - paper
    if difference is not None and not stderr:
        obstacles.append("no standard error")
    return {
        "row": key,
        "label": row.label,
        "task": place.task,
        "metric": score["metric"],
        "value": value,
        "stderr": stderr,
        "n": score["n"],
        "documents": documents,
        "partial": partial,
        "num_fewshot": shots,
        "version": score["version"],
        "prompt_version": score["prompt_version"],
        "reference": published,
        "difference": difference,
        "verdict": _verdict(difference, stderr, obstacles),
        "notes": [*obstacles, *place.notes] if value is not None else [],
        "missing": score["missing"],
        "tried": score["tried"],
    }


def _variants(noted: list[Figure], key: str) -> list[dict[str, Any]]:
    """Published figures of a row that a remark belongs to."""
    return [figure.model_dump(exclude={"table", "row"}) for figure in noted if figure.row == key]


def _verdict(difference: float | None, stderr: float | None, obstacles: list[str]) -> str | None:
    if difference is None:
        return None
    if obstacles or not stderr:
        return UNJUDGED
    return OUTSIDE if abs(difference) > BEYOND * stderr else WITHIN


EMPTY: Score = {
    "metric": None,
    "value": None,
    "stderr": None,
    "n": None,
    "num_fewshot": None,
    "version": None,
    "prompt_version": None,
    "notes": [],
    "missing": None,
    "tried": True,
}


def _score(place: Place, summary: dict[str, Any]) -> Score:
    """The score that belongs there; without a value it says why, and whether the suite has the task at all."""
    rows = [row for row in summary["rows"] if row["task"] == place.task]
    for row in rows:
        named = row.get("paper_metric") if place.metric is None else row["metric"] == place.metric
        if named and row["domain"] == place.domain:
            if not math.isfinite(row["value"]):
                return EMPTY | {"missing": "the score is not a finite number"}
            known = {key: row[key] for key in EMPTY if key in row} | {"stderr": _finite(row["stderr"])}
            return EMPTY | known | {"notes": list(summary.get("notes", {}).get(place.task, []))}
    if rows:
        said = "; ".join(summary.get("notes", {}).get(place.task, []))
        wanted = place.domain or place.metric or "the paper's metric"
        return EMPTY | {"missing": place.absent or said or f"no score for {wanted}"}
    if gaps := [gap["reason"] for gap in summary["missing"] if _names(gap["task"], place)]:
        return EMPTY | {"missing": "; ".join(dict.fromkeys(gaps))}
    return EMPTY | {"missing": f"not in suite {summary['suite']}", "tried": False}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _names(task: str, place: Place) -> bool:
    """Whether a task that is missing is the place's own or the group that it is in."""
    own = {other.task for rows in reference.places().tables.values() for other in rows.values()}
    assert place.task is not None
    return task == place.task or (task not in own and place.task.startswith(f"{task}_"))


def _mean(place: Place, summary: dict[str, Any]) -> Score:
    """The mean over an area's rows weighted by the documents of the whole benchmark; all or nothing."""
    assert place.mean_of is not None
    table, places = reference.tables()[place.mean_of], reference.places().tables[place.mean_of]
    keys = [key for key, row in table.rows.items() if place.area in (None, row.averaged_with)]
    parts = {key: _score(places[key], summary) for key in keys}
    scored = [part for part in parts.values() if part["value"] is not None]
    if len(scored) < len(parts):
        why = f"{len(scored)} of {len(parts)} parts scored"
        return EMPTY | {"missing": why, "tried": any(part["tried"] for part in parts.values())}
    weights = [table.rows[key].documents or 0 for key in keys]
    total = sum(weights)
    errors = [part["stderr"] for part in scored]
    shared = {key: _only(part[key] for part in scored) for key in ("num_fewshot", "version", "prompt_version")}
    return (
        EMPTY
        | shared
        | {
            "metric": _only(part["metric"] for part in scored),
            "value": sum(w * part["value"] for w, part in zip(weights, scored, strict=True)) / total,
            "stderr": None
            if None in errors
            else math.sqrt(sum((w * error) ** 2 for w, error in zip(weights, errors, strict=True))) / total,
            "n": sum(part["n"] for part in scored),
            "notes": list(dict.fromkeys(note for part in scored for note in part["notes"])),
        }
    )


def _only(values: Iterable[Any]) -> Any:
    """The value they share; None if they differ."""
    distinct = set(values)
    return distinct.pop() if len(distinct) == 1 else None


def _stock(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Scores of the paper's tasks under other metrics than the paper's, beside what others published with lm-eval.

    Only figures of a harness that reads LLaMA's tokenizer correctly stand there, and no difference is claimed: their
    prompts are lm-eval's.
    """
    places = reference.places()
    all_places = [place for rows in places.tables.values() for place in rows.values()]
    tasks = {place.task for place in all_places} | set(places.lm_eval)
    placed = {(place.task, place.metric) for place in all_places}
    found = []
    for row in summary["rows"]:
        elsewhere = row.get("paper_metric") or (row["task"], row["metric"]) in placed
        if row["task"] not in tasks or elsewhere or row["domain"] is not None or not math.isfinite(row["value"]):
            continue
        name = f"{places.lm_eval.get(row['task'])}/{row['metric']}"
        figures = [
            {"model": model, "value": value, "title": source.title, "source": source.source}
            for source in reference.published().values()
            if source.comparable and name in source.rows
            for model, value in zip(source.models, source.rows[name], strict=True)
        ]
        kept = ("task", "metric", "value", "stderr", "n", "num_fewshot", "version", "prompt_version")
        own = {key: row.get(key) for key in kept} | {"stderr": _finite(row["stderr"])}
        found.append(own | {"published": figures})
    return found
