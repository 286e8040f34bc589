"""Local files of the multiple-choice benchmarks, as rows in the schema of the hub's datasets.

Each reader takes one file (or a list of files) per split and gives that split's rows.
"""

import re
from pathlib import Path
from typing import Any

from llamalab.common.errors import UserError
from llamalab.evaluation.benchmarks.files import Row, field, jsonl, label, lines_of, table, text_of

LETTERS = "ABCDEFGH"
Splits = dict[str, list[Row]]


def boolq(validation: Path) -> Splits:
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


def piqa(validation: list[Path]) -> Splits:
    """PIQA's JSON lines and its file of labels, 0 or 1 a line: `goal, sol1, sol2, label`."""
    file, labels = validation
    rows = [
        {name: field(file, number, row, name) for name in ("goal", "sol1", "sol2")} | {"label": int(answer)}
        for number, row, answer in _with_labels(file, labels, "01")
    ]
    return {"validation": rows}


def siqa(validation: list[Path]) -> Splits:
    """SIQA's JSON lines and its file of labels, 1 to 3 a line: `context, question, answerA, B, C, label`."""
    file, labels = validation
    names = ("context", "question", "answerA", "answerB", "answerC")
    rows = [
        {name: field(file, number, row, name) for name in names} | {"label": answer}
        for number, row, answer in _with_labels(file, labels, "123")
    ]
    return {"validation": rows}


def hellaswag(validation: Path) -> Splits:
    """HellaSwag's JSON lines: `activity_label, ctx_a, ctx_b, endings, label`.

    Where a converted file has only `ctx` ("activity: context"), `ctx_b`, the beginning of the sentence to complete, is
    what follows the last whole sentence; lm-eval only capitalises it.
    """
    rows = []
    for number, row in enumerate(jsonl(validation), 1):
        activity, endings = (
            field(validation, number, row, "activity_label"),
            field(validation, number, row, "endings", list),
        )
        if "ctx_a" in row:
            first, second = field(validation, number, row, "ctx_a"), row.get("ctx_b") or ""
        else:
            context = field(validation, number, row, "ctx").removeprefix(f"{activity}: ")
            open_sentence = re.search(r"""(?<=[.!?"')]) [a-z][^.!?]*$""", context)
            at = open_sentence.start() if open_sentence else len(context)
            first, second = context[:at], context[at + 1 :]
        answer = label(validation, number, _text(row.get("label")), [str(i) for i in range(len(endings))])
        rows.append(
            {"activity_label": activity, "ctx_a": first, "ctx_b": second, "endings": endings, "label": str(answer)}
        )
    return {"validation": rows}


def winogrande(validation: Path) -> Splits:
    """WinoGrande's JSON lines: `sentence` with a `_`, `option1, option2, answer` ("1" or "2")."""
    rows = []
    for number, row in enumerate(jsonl(validation), 1):
        kept = {name: field(validation, number, row, name) for name in ("sentence", "option1", "option2")}
        if "_" not in kept["sentence"]:
            raise UserError(f"{validation}, row {number}: 'sentence' has no '_' to fill; mend the row")
        rows.append(kept | {"answer": "12"[label(validation, number, _text(row.get("answer")), "12")]})
    return {"validation": rows}


def arc(test: Path) -> Splits:
    """ARC as `query` ("Question: ..."), `choices`, `gold`: the hub's `question, choices, answerKey`."""
    rows = []
    for number, row in enumerate(jsonl(test), 1):
        choices = field(test, number, row, "choices", list)
        letters = LETTERS[: len(choices)]
        answer = label(test, number, row.get("gold"), range(len(choices)))
        rows.append(
            {
                "question": field(test, number, row, "query").removeprefix("Question: "),
                "choices": {"text": choices, "label": [*letters]},
                "answerKey": letters[answer],
            }
        )
    return {"test": rows}


def openbookqa(test: Path) -> Splits:
    """OpenBookQA's own JSON lines, as the hub's `question_stem, choices, answerKey`."""
    rows = []
    for number, row in enumerate(jsonl(test), 1):
        question = field(test, number, row, "question", dict)
        choices = field(test, number, question, "choices", list)
        letters = [field(test, number, choice, "label") for choice in choices]
        rows.append(
            {
                "question_stem": field(test, number, question, "stem"),
                "choices": {"text": [field(test, number, choice, "text") for choice in choices], "label": letters},
                "answerKey": letters[label(test, number, row.get("answerKey"), letters)],
            }
        )
    return {"test": rows}


def mmlu(test: Path, dev: Path) -> Splits:
    """A subject's CSV files without header (question, four choices, letter): `question, subject, choices, answer`."""
    columns = ["question", *"ABCD", "answer"]
    splits = {}
    for split, path in (("test", test), ("dev", dev)):
        subject = re.sub(r"_(test|dev)\.csv(\.gz)?$", "", path.name)
        splits[split] = [
            {
                "question": field(path, number, row, "question"),
                "subject": subject,
                "choices": [field(path, number, row, letter) for letter in "ABCD"],
                "answer": label(path, number, row["answer"], "ABCD"),
            }
            for number, row in enumerate(table(path, columns), 1)
        ]
    return splits


def crows_pairs(test: Path) -> Splits:
    """The original CSV: `sent_more, sent_less, stereo_antistereo, bias_type`."""
    names = ("sent_more", "sent_less", "stereo_antistereo", "bias_type")
    rows = [{name: field(test, number, row, name) for name in names} for number, row in enumerate(table(test), 1)]
    return {"test": rows}


def wikitext(test: Path) -> Splits:
    """A WikiText file: its lines with their line feeds, blank ones empty, as `text`."""
    lines = text_of(test).split("\n")
    return {"test": [{"text": f"{line}\n" if line.strip() else ""} for line in lines]}


def _with_labels(file: Path, labels: Path, known: str) -> list[tuple[int, Row, str]]:
    """(number, row, label) of a file of rows and a file of labels."""
    rows, answers = jsonl(file), lines_of(labels)
    if len(rows) != len(answers):
        raise UserError(
            f"{labels}, row {min(len(rows), len(answers)) + 1}: {len(answers)} labels for the {len(rows)} rows of "
            f"{file.name}; fetch both again"
        )
    return [
        (number, row, known[label(labels, number, answer.strip(), known)])
        for number, (row, answer) in enumerate(zip(rows, answers, strict=True), 1)
    ]


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
