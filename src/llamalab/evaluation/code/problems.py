"""HumanEval and MBPP: their files, and what a problem and a completion make as a program."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from llamalab.evaluation.benchmarks.files import Row, field, jsonl
from llamalab.evaluation.code.sandbox import Program

# Austin et al. (2021), section 2.1, number the problems; the hub's dataset has the same splits.
_MBPP_SPLITS = {"prompt": range(1, 11), "test": range(11, 511), "validation": range(511, 601), "train": range(601, 975)}
_MBPP_SHOTS = (2, 3, 4)


def read_humaneval(test: Path) -> dict[str, list[Row]]:
    """HumanEval's own JSON lines; all are test problems."""
    names = ("task_id", "prompt", "canonical_solution", "test", "entry_point")
    rows = [{name: field(test, number, row, name) for name in names} for number, row in enumerate(jsonl(test), 1)]
    return {"test": rows}


def read_mbpp(**files: Path) -> dict[str, list[Row]]:
    """MBPP's own JSON lines, all 974 in one file: each split has the problems of its numbers in the file it names."""
    splits: dict[str, list[Row]] = {}
    for split, path in files.items():
        rows = []
        for number, row in enumerate(jsonl(path), 1):
            texts = {name: field(path, number, row, name) for name in ("text", "code")}
            rows.append(
                {
                    "task_id": field(path, number, row, "task_id", int),
                    **texts,
                    "test_list": field(path, number, row, "test_list", list),
                    "test_setup_code": row.get("test_setup_code") or "",
                    "challenge_test_list": row.get("challenge_test_list") or [],
                }
            )
        splits[split] = [row for row in rows if row["task_id"] in _MBPP_SPLITS[split]]
    return splits


def mbpp_shots(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The three worked examples of the prompt (Austin et al. 2021, section 3.1), with plain line ends.

    The dataset's code has the line ends of another system; kept, they would be tokens that no other text has, and
    examples of how to write.
    """
    by_number = {row["task_id"]: row for row in rows}
    return [{**by_number[number], "code": by_number[number]["code"].replace("\r\n", "\n")} for number in _MBPP_SHOTS]


def humaneval_program(doc: dict[str, Any], completion: str) -> Program:
    """The prompt goes on with the completion, then the test's `check` is called on the function."""
    return (doc["prompt"] + completion, f"{doc['test']}\ncheck({doc['entry_point']})")


def mbpp_program(doc: dict[str, Any], completion: str) -> Program:
    """The completion is all of the program; some tests build what they need first."""
    return (completion, doc["test_setup_code"], "\n".join(doc["test_list"]))
