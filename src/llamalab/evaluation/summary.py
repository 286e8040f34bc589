"""The short record of an evaluation: one row per task, domain and metric, and the table that shows them."""

import math
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.table import Table

from llamalab.evaluation.tasks import domain_task

Row = dict[str, Any]


def rows_of(results: dict[str, Any], task: str, domains: Sequence[str]) -> list[Row]:
    """The rows of one suite task from lm-eval's results.

    Args:
        results: what lm-eval's `simple_evaluate` returns, with samples.
        task: its name in the suite.
        domains: those it was run on, each as a task of its own; empty for a task without domains.

    Returns:
        Rows of `task, metric, value, stderr, n, chance, domain`: for each metric, in the task file's order, first the
        whole (`domain` None), then each domain. The whole of bits per byte is total bits over total bytes, that of an
        accuracy the mean over all items. `stderr` and `chance` are None where there is none.
    """
    if not domains:
        return _rows(results, task, task, None)
    parts = [row for domain in domains for row in _rows(results, domain_task(task, domain), task, domain)]
    rows = []
    for metric in dict.fromkeys(row["metric"] for row in parts):
        of_metric = [row for row in parts if row["metric"] == metric]
        if metric == "bits_per_byte":
            pairs = [pair for domain in domains for pair in _pairs(results, domain_task(task, domain))]
            value, stderr = bits_per_byte(pairs)
        else:
            group = results["groups"][task]
            value, stderr = group[f"{metric},none"], _number(group[f"{metric}_stderr,none"])
        count = sum(row["n"] for row in of_metric)
        rows += [_row(task, metric, value, stderr, count, of_metric[0]["chance"], None), *of_metric]
    return rows


def _rows(results: dict[str, Any], name: str, task: str, domain: str | None) -> list[Row]:
    found, config = results["results"][name], results["configs"][name]
    chance = config["metadata"].get("chance", {})
    rows = []
    for metric in (entry["metric"] for entry in config["metric_list"]):
        value, stderr = found[f"{metric},none"], _number(found[f"{metric}_stderr,none"])
        if metric == "bits_per_byte":
            value, stderr = bits_per_byte(_pairs(results, name))
        rows.append(_row(task, metric, value, stderr, found["sample_len"], chance.get(metric), domain))
    return rows


def _row(
    task: str, metric: str, value: float, stderr: float | None, n: int, chance: float | None, domain: str | None
) -> Row:
    return {
        "task": task,
        "metric": metric,
        "value": float(value),
        "stderr": stderr,
        "n": n,
        "chance": chance,
        "domain": domain,
    }


def _pairs(results: dict[str, Any], name: str) -> list[tuple[float, int]]:
    return [sample["bits_per_byte"] for sample in results["samples"][name]]


def _number(value: Any) -> float | None:
    """lm-eval writes "N/A" where there is no standard error."""
    return float(value) if isinstance(value, (int, float)) else None


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
    for heading in ("task", "metric"):
        table.add_column(heading, no_wrap=True)
    for heading in ("value ± stderr", "n", "chance", "z"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in summary["rows"]:
        z = above_chance(row)
        if row["domain"] is None:
            table.add_section()
        table.add_row(
            row["task"] if row["domain"] is None else f"  {row['domain']}",
            row["metric"],
            f"{row['value']:.3f}" + ("" if row["stderr"] is None else f" ± {row['stderr']:.3f}"),
            f"{row['n']:,}",
            "" if row["chance"] is None else f"{row['chance']:.2f}",
            "" if z is None else f"{z:+.1f}",
            style="bold" if row["domain"] is None else None,
        )
    return table
