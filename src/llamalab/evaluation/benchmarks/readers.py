"""Local files of the multiple-choice benchmarks, as rows in the schema of the hub's datasets.

Each reader takes one file (or a list of files) per split and gives that split's rows.
"""

from pathlib import Path

from llamalab.evaluation.benchmarks.files import Row, field, jsonl, label


def boolq(validation: Path) -> dict[str, list[Row]]:
    """BoolQ's own JSON lines, as SuperGLUE's `question, passage, idx, label` (0 no, 1 yes)."""
    rows = []
    for number, row in enumerate(jsonl(validation), 1):
        # the original has JSON booleans, some copies the texts "True" and "False"
        answer = row.get("answer")
        rows.append(
            {
                "question": field(validation, number, row, "question"),
                "passage": field(validation, number, row, "passage"),
                "idx": number - 1,
                "label": label(validation, number, None if answer is None else str(answer), ("False", "True")),
            }
        )
    return {"validation": rows}
