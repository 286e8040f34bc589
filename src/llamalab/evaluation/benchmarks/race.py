"""RACE: every question, after the earlier questions of its article with their answers."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from llamalab.common.errors import UserError
from llamalab.evaluation.benchmarks.files import Row, field, jsonl, label

if TYPE_CHECKING:
    from datasets import Dataset

LETTERS = "ABCD"


def race(test: Path) -> dict[str, list[Row]]:
    """RACE's articles, one a line with its questions: a row per question, as ehovy/race has them."""
    rows = []
    for number, article in enumerate(jsonl(test), 1):
        parts = [field(test, number, article, name, list) for name in ("questions", "options", "answers")]
        if len({len(part) for part in parts}) != 1:
            counts = ", ".join(str(len(part)) for part in parts)
            raise UserError(f"{test}, row {number}: has {counts} questions, options and answers; mend the row")
        for question, options, answer in zip(*parts, strict=True):
            rows.append(
                {
                    "example_id": str(article.get("id", number)),
                    "article": field(test, number, article, "article"),
                    "question": field(test, number, {"question": question}, "question"),
                    "options": field(test, number, {"options": options}, "options", list),
                    "answer": LETTERS[label(test, number, answer, LETTERS[: len(options)])],
                }
            )
    return {"test": rows}


def in_sequence(dataset: "Dataset") -> "Dataset":
    r"""Adds `earlier`, the article's questions before this one as "Q: ...\n\nA: ...\n\n", and `gold`, the position."""
    from datasets import Dataset

    earlier: dict[str, str] = {}
    rows: list[dict[str, Any]] = []
    for row in dataset:
        gold = LETTERS.index(row["answer"])
        before = earlier.setdefault(row["example_id"], "")
        rows.append({**row, "earlier": before, "gold": gold})
        earlier[row["example_id"]] = f"{before}Q: {row['question']}\n\nA: {row['options'][gold]}\n\n"
    return Dataset.from_list(rows)
