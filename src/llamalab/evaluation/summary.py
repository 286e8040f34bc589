"""The short record of an evaluation: one row per task, domain and metric, and the table that shows them."""

import math
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from rich import box
from rich.table import Table

from llamalab.evaluation.tasks import domain_task

Row = dict[str, Any]
# what all tasks of the paper's tables begin with
PREFIX = "paper_"
# tasks named in a line of remarks
LISTED = 5


def rows_of(results: dict[str, Any], task: str, domains: Sequence[str]) -> list[Row]:
    """The rows of one suite task from lm-eval's results.

    Args:
        results: what lm-eval's `simple_evaluate` returns, with samples.
        task: its name in the suite.
        domains: those it was run on, each as a task of its own; empty for a task without domains.

    Returns:
        Rows of `task, metric, value, stderr, n, chance, domain` and of the task's `version, prompt_version,
        num_fewshot` and whether the metric is the paper's (`paper_metric`): for each metric, in the task file's order,
        first the whole (`domain` None), then each domain. The whole of bits per byte is total bits over total bytes,
        that of an accuracy the mean over all items. `stderr` and `chance` are None where there is none.
    """
    if not domains:
        return _rows(results, task, task, None)
    parts = [row for domain in domains for row in _rows(results, domain_task(task, domain), task, domain)]
    rows = []
    for metric in dict.fromkeys(row["metric"] for row in parts):
        of_metric = [row for row in parts if row["metric"] == metric]
        if metric == "bits_per_byte":
            pairs = [pair for domain in domains for pair in _values(results, domain_task(task, domain), metric)]
            value, stderr = bits_per_byte(pairs)
        else:
            group = results["groups"][task]
            value, stderr = group[f"{metric},none"], _number(group[f"{metric}_stderr,none"])
        whole = {"value": float(value), "stderr": stderr, "n": sum(row["n"] for row in of_metric), "domain": None}
        rows += [{**of_metric[0], **whole}, *of_metric]
    return rows


def group_rows(results: dict[str, Any], name: str, metadata: dict[str, Any], num_fewshot: int | None) -> list[Row]:
    """The rows of a group of tasks, one per metric that it averages.

    Args:
        results: with the group's under `groups`.
        name: the group's.
        metadata: of the group's file.
        num_fewshot: of its tasks.
    """
    group = results["groups"][name]
    about = {"task": name, "n": group["sample_len"], "domain": None, "num_fewshot": num_fewshot}
    return [_row(about, metadata, *found) for found in _metrics(group)]


def _rows(results: dict[str, Any], name: str, task: str, domain: str | None) -> list[Row]:
    """Every metric of one lm-eval task, followed by its means over the items of each of the task's own domains."""
    found, config = results["results"][name], results["configs"][name]
    metadata, rows = config["metadata"], []
    about = {"task": task, "n": found["sample_len"], "domain": domain, "num_fewshot": config.get("num_fewshot")}
    order = [entry["metric"] for entry in config.get("metric_list") or []]
    for metric, value, stderr in sorted(_metrics(found), key=lambda item: _position(item[0], order)):
        if metric in OWN_ERRORS:
            value, stderr = OWN_ERRORS[metric](_values(results, name, metric))
        rows.append(_row(about, metadata, metric, value, stderr))
        if metadata.get("domains") is not None:
            rows += [
                _row({**about, "domain": part, "n": len(values)}, metadata, metric, *mean(values))
                for part, values in _by_domain(results, name, metric).items()
            ]
    return rows


def _metrics(found: dict[str, Any]) -> list[tuple[str, float, float | None]]:
    """(metric, value, standard error); a metric of a filter other than lm-eval's "none" is named `metric,filter`."""
    metrics = []
    for key, value in found.items():
        metric, comma, filtered = key.rpartition(",")
        if not comma or metric.endswith("_stderr") or not isinstance(value, int | float):
            continue
        name = metric if filtered == "none" else key
        metrics.append((name, float(value), _number(found.get(f"{metric}_stderr,{filtered}"))))
    return metrics


def _position(metric: str, order: list[str]) -> int:
    name = metric.rpartition(",")[0] or metric
    return order.index(name) if name in order else len(order)


def _row(about: Row, metadata: dict[str, Any], metric: str, value: float, stderr: float | None) -> Row:
    name = metric.rpartition(",")[0] or metric
    return {
        "task": about["task"],
        "metric": metric,
        "value": float(value),
        "stderr": stderr,
        "n": about["n"],
        "chance": metadata.get("chance", {}).get(name),
        "domain": about["domain"],
        "version": metadata.get("version"),
        "prompt_version": metadata.get("prompt_version"),
        "paper_metric": name == metadata.get("paper_metric"),
        "num_fewshot": about["num_fewshot"],
    }


def _values(results: dict[str, Any], name: str, metric: str) -> list[Any]:
    return [sample[metric] for sample in results["samples"][name]]


def _by_domain(results: dict[str, Any], name: str, metric: str) -> dict[str, list[float]]:
    parts: dict[str, list[float]] = {}
    for sample in results["samples"][name]:
        for part in sample["domains"]:
            parts.setdefault(part, []).append(sample[metric])
    return dict(sorted(parts.items()))


def _number(value: Any) -> float | None:
    """lm-eval writes "N/A" where there is no standard error."""
    return float(value) if isinstance(value, (int, float)) else None


def mean(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean and its standard error, as lm-eval computes it; None for one value."""
    if len(values) < 2:
        return float(values[0]), None
    return statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values))


def perplexity(values: Sequence[float]) -> tuple[float, float | None]:
    """exp of minus the mean log-likelihood per token over windows, its standard error by the delta method."""
    average, stderr = mean(values)
    found = math.exp(-average)
    return found, None if stderr is None else found * stderr


def bits_per_byte(pairs: Sequence[tuple[float, int]]) -> tuple[float, float | None]:
    """Total bits over total bytes of documents, and its standard error (None for one document).

    The error is that of a ratio of two sums over documents (Cochran 1977, equation 6.13), since long documents weigh
    more.

    Args:
        pairs: log-likelihood in nats and UTF-8 bytes of each document.
    """
    bits = [-log_likelihood / math.log(2) for log_likelihood, _ in pairs]
    sizes = [size for _, size in pairs]
    count, total = len(pairs), sum(sizes)
    ratio = sum(bits) / total
    if count < 2:
        return ratio, None
    spread = sum((b - ratio * size) ** 2 for b, size in zip(bits, sizes, strict=True))
    return ratio, math.sqrt(count / (count - 1) * spread) / total


# metrics whose standard error lm-eval does not know, or would resample for
OWN_ERRORS: dict[str, Callable[[Sequence[Any]], tuple[float, float | None]]] = {
    "bits_per_byte": bits_per_byte,
    "perplexity": perplexity,
}


def above_chance(row: Row) -> float | None:
    """How many standard errors the value is above chance; None without chance or error."""
    if row["chance"] is None or not row["stderr"]:
        return None
    return float((row["value"] - row["chance"]) / row["stderr"])


def table_of(summary: dict[str, Any]) -> Table:
    """The rows for a person, with the z-score against chance; each task and metric is a block, domains indented."""
    table = Table(
        title=f"{summary['suite']}: {summary['checkpoint']}",
        caption="z: standard errors above chance",
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    cells = [_cells(row) for row in summary["rows"]]
    # in a narrow terminal long names go over two lines; no figure gives way
    table.add_column("task", overflow="fold")
    table.add_column("metric", no_wrap=True)
    for heading in ("value ± stderr", "n", "chance", "z"):
        table.add_column(heading, justify="right", no_wrap=True)
    lengths = Counter(row["task"] for row in summary["rows"])
    before: Row | None = None
    for row, of_row in zip(summary["rows"], cells, strict=True):
        if before is not None:
            of_one_block = row["domain"] is not None or (row["task"] == before["task"] and before["domain"] is None)
            lines_of_one = lengths[row["task"]] == lengths[before["task"]] == 1
            if not of_one_block and not lines_of_one:
                table.add_section()
        table.add_row(*of_row, style="bold" if row["domain"] is None else None)
        before = row
    return table


def _cells(row: Row) -> list[str]:
    z = above_chance(row)
    return [
        row["task"].removeprefix(PREFIX) if row["domain"] is None else f"  {row['domain']}",
        row["metric"],
        f"{row['value']:.3f}" + ("" if row["stderr"] is None else f" ± {row['stderr']:.3f}"),
        f"{row['n']:,}",
        "" if row["chance"] is None else f"{row['chance']:.2f}",
        "" if z is None else f"{z:+.1f}",
    ]


def remarks(summary: dict[str, Any]) -> list[str]:
    """What a reader of the table must know: what is missing, cut, or done otherwise than in the paper; a line each."""
    lines = []
    if summary["inputs"]["limit"] is not None:
        lines.append(f"Only the first {summary['inputs']['limit']} items of each task were scored (limit)")
    if summary["truncated_requests"]:
        lines.append(
            f"{summary['truncated_requests']:,} requests were longer than the model's context and lost their beginning"
        )
    whats = dict.fromkeys(what for counts in summary["counts"].values() for what in counts)
    for what in whats:
        found = {task: counts[what] for task, counts in summary["counts"].items() if counts.get(what)}
        if found:
            listed = ", ".join(f"{task} {count:,}" for task, count in [*found.items()][:LISTED])
            more = f", and {len(found) - LISTED} more tasks" if len(found) > LISTED else ""
            lines.append(f"  {what}: {sum(found.values()):,} ({listed}{more})")
    for task, notes in summary["notes"].items():
        lines += [f"Note on {task}: {note}" for note in notes]
    if summary["missing"]:
        lines.append(f"The table is not all of this suite: {len(summary['missing'])} parts of it are missing")
    for gap in summary["missing"]:
        where = "" if gap["domain"] is None else f" on {gap['domain']}"
        lines.append(f"Missing: {gap['task']}{where}: {gap['reason']}")
    return lines
