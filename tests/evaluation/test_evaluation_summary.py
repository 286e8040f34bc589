"""Rows of the summary, and the standard error of a ratio."""

import json
import math
import random
import statistics

import pytest
from rich.console import Console

from llamalab.evaluation.summary import above_chance, bits_per_byte, rows_of, table_of


def test_bits_per_byte_is_total_bits_over_total_bytes() -> None:
    value, _ = bits_per_byte([(-math.log(2) * 300, 100), (-math.log(2) * 10, 20)])
    assert value == pytest.approx(310 / 120)


def test_one_document_has_no_error() -> None:
    assert bits_per_byte([(-1.0, 3)])[1] is None


def test_its_error_is_the_spread_over_draws_of_documents() -> None:
    generator = random.Random(0)

    def draw() -> list[tuple[float, int]]:
        documents = []
        for _ in range(60):
            size = generator.randint(50, 2000)
            documents.append((-math.log(2) * size * generator.gauss(2.0, 0.3), size))
        return documents

    values, errors = zip(*(bits_per_byte(draw()) for _ in range(400)), strict=True)
    assert statistics.mean(errors) == pytest.approx(statistics.stdev(values), rel=0.1)


def results() -> dict[str, object]:
    """What lm-eval returns for one accuracy over two domains."""
    config = {
        "metric_list": [{"metric": "acc_norm"}, {"metric": "acc"}],
        "metadata": {"version": 1.0, "chance": {"acc_norm": 0.25}},
    }
    scores = {
        "choice_books": {"sample_len": 30, "acc,none": 0.2, "acc_stderr,none": 0.01},
        "choice_code": {"sample_len": 10, "acc,none": 0.6, "acc_stderr,none": "N/A"},
    }
    for name, score in scores.items():
        score |= {"acc_norm,none": 0.3 if name == "choice_books" else 0.5, "acc_norm_stderr,none": 0.05}
    group = {"acc_norm,none": 0.35, "acc_norm_stderr,none": 0.04, "acc,none": 0.3, "acc_stderr,none": "N/A"}
    return {"results": scores, "groups": {"choice": group}, "configs": dict.fromkeys(scores, config)}


def test_the_whole_comes_first_then_each_domain_metric_by_metric() -> None:
    rows = rows_of(results(), "choice", ["books", "code"])
    assert [(row["metric"], row["domain"], row["value"], row["stderr"], row["n"], row["chance"]) for row in rows] == [
        ("acc_norm", None, 0.35, 0.04, 40, 0.25),
        ("acc_norm", "books", 0.3, 0.05, 30, 0.25),
        ("acc_norm", "code", 0.5, 0.05, 10, 0.25),
        ("acc", None, 0.3, None, 40, None),
        ("acc", "books", 0.2, 0.01, 30, None),
        ("acc", "code", 0.6, None, 10, None),
    ]
    assert {row["task"] for row in rows} == {"choice"}
    json.dumps(rows, allow_nan=False)


def test_standard_errors_above_chance() -> None:
    rows = rows_of(results(), "choice", ["books", "code"])
    assert above_chance(rows[0]) == pytest.approx(2.5)
    assert above_chance(rows[3]) is None


def test_the_table_fits_a_terminal_of_80_columns() -> None:
    rows = rows_of(results(), "choice", ["books", "code"])
    for row in rows:
        row |= {"task": "heldout_bits_per_byte", "metric": "acc_neutral", "n": 12_345}
    rows.append({**rows[0], "task": "paper_mmlu_high_school_government_and_politics", "metric": "acc", "n": 193})
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(
        table_of(
            {
                "suite": "embedded",
                "checkpoint": "runs/position/nano/rope/seed=0/checkpoints/step=00000500",
                "rows": rows,
            }
        )
    )
    text = console.export_text()
    assert "heldout_bits_per_byte" in text
    assert "mmlu_high_school_go" in text
    assert "acc_neutral" in text
    assert "0.350 ± 0.040" in text
    assert "+2.5" in text
    assert "…" not in text
    assert max(len(line) for line in text.splitlines()) <= 80
