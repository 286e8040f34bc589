"""Local files of the generative benchmarks, as rows in the schema of the hub's datasets.

Each reader takes one file per split and gives that split's rows.
"""

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from llamalab.common.errors import UserError
from llamalab.evaluation.answers.text import normalised
from llamalab.evaluation.benchmarks.files import Row, field, json_list, jsonl, table

SUBJECTS = {
    "algebra": "Algebra",
    "counting_and_probability": "Counting & Probability",
    "geometry": "Geometry",
    "intermediate_algebra": "Intermediate Algebra",
    "number_theory": "Number Theory",
    "prealgebra": "Prealgebra",
    "precalculus": "Precalculus",
}


def nq_open(train: Path, validation: Path) -> dict[str, list[Row]]:
    """NQ-open's own JSON lines (`question, answer`), or lines of `question, answers`."""
    return {
        split: [
            {
                "question": field(path, number, row, "question"),
                "answer": _texts(path, number, row, "answer" if "answer" in row else "answers"),
            }
            for number, row in enumerate(jsonl(path), 1)
        ]
        for split, path in (("train", train), ("validation", validation))
    }


@lru_cache(maxsize=1)  # four tasks in a row read these large files
def trivia_qa(train: Path, validation: Path) -> dict[str, list[Row]]:
    """JSON lines of `question, answers`, as `question, question_id, answer {value, aliases}`.

    The files have all aliases in no order and do not say which is the canonical answer (`value`, which few-shot
    examples show): it is taken to be the one that most other aliases contain as words.
    """
    return {
        split: [
            {
                "question": field(path, number, row, "question"),
                "question_id": f"{split}_{number}",
                "answer": {
                    "value": _central(aliases := _texts(path, number, row, "answers")),
                    "aliases": aliases,
                },
            }
            for number, row in enumerate(jsonl(path), 1)
        ]
        for split, path in (("train", train), ("validation", validation))
    }


def web_questions(train: Path, test: Path) -> dict[str, list[Row]]:
    """A JSON list of `qText, answers`, as `question, answers`."""
    return {
        split: [
            {
                "question": field(path, number, row, "qText"),
                "answers": _texts(path, number, row, "answers"),
            }
            for number, row in enumerate(json_list(path), 1)
        ]
        for split, path in (("train", train), ("test", test))
    }


def math(test: Path) -> dict[str, list[Row]]:
    """JSON lines of `context, answer, chain_of_thought, category`, as `problem, level, type, solution`."""
    rows = []
    for number, row in enumerate(jsonl(test), 1):
        solution = field(test, number, row, "chain_of_thought")
        if "\\boxed" not in solution and "\\fbox" not in solution:
            raise UserError(f"{test}, row {number}: the solution has no \\boxed answer; mend the row")
        subject = field(test, number, row, "category")
        if subject not in SUBJECTS:
            raise UserError(f"{test}, row {number}: unknown category '{subject}'; mend the row")
        problem = field(test, number, row, "context")
        rows.append({"problem": problem, "level": "", "type": SUBJECTS[subject], "solution": solution})
    return {"test": rows}


def gsm8k(test: Path) -> dict[str, list[Row]]:
    """GSM8k's own JSON lines; the prompt has its own examples, so no training split is needed."""
    rows = []
    for number, row in enumerate(jsonl(test), 1):
        answer = field(test, number, row, "answer")
        if not re.search(r"####\s*-?\$?[\d,]*\.?\d", answer):
            raise UserError(f"{test}, row {number}: 'answer' has no number after ####; mend the row")
        rows.append({"question": field(test, number, row, "question"), "answer": answer})
    return {"test": rows}


def real_toxicity_prompts(train: Path) -> dict[str, list[Row]]:
    """The original JSON lines: the prompt's text and its own toxicity."""
    rows = []
    for number, row in enumerate(jsonl(train), 1):
        prompt = field(train, number, row, "prompt", dict)
        text = field(train, number, prompt, "text")
        rows.append({"prompt": {"text": text, "toxicity": prompt.get("toxicity")}})
    return {"train": rows}


def truthful_qa_generation(validation: Path) -> dict[str, list[Row]]:
    """The original CSV, answers between semicolons."""
    rows = []
    for number, row in enumerate(table(validation), 1):
        best = field(validation, number, row, "Best Answer")
        rows.append(
            {
                "type": field(validation, number, row, "Type"),
                "category": field(validation, number, row, "Category"),
                "question": field(validation, number, row, "Question").strip(),
                "best_answer": best.strip(),
                "correct_answers": _between_semicolons(field(validation, number, row, "Correct Answers")),
                "incorrect_answers": _between_semicolons(field(validation, number, row, "Incorrect Answers")),
            }
        )
    return {"validation": rows}


def truthful_qa_multiple_choice(validation: Path) -> dict[str, list[Row]]:
    """The original JSON: label by choice for each target, as `{choices, labels}` with the true choices first."""
    rows = []
    for number, row in enumerate(json_list(validation), 1):
        found: dict[str, Any] = {"question": field(validation, number, row, "question")}
        for target, most in (("mc1_targets", 1), ("mc2_targets", None)):
            labels = field(validation, number, row, target, dict)
            true = [choice for choice, label in labels.items() if label == 1]
            false = [choice for choice, label in labels.items() if label == 0]
            if not true or not false or len(true) + len(false) < len(labels) or (most and len(true) > most):
                raise UserError(f"{validation}, row {number}: '{target}' has no usable labels (0 or 1); mend the row")
            found[target] = {"choices": true + false, "labels": [1] * len(true) + [0] * len(false)}
        rows.append(found)
    return {"validation": rows}


def _texts(path: Path, number: int, row: Row, name: str) -> list[str]:
    texts: list[str] = field(path, number, row, name, list)
    if not all(isinstance(text, str) for text in texts) or not any(text.strip() for text in texts):
        raise UserError(f"{path}, row {number}: '{name}' is no list of answers; mend the row or fetch the file again")
    return texts


def _central(aliases: list[str]) -> str:
    """The alias that most of the others contain; of several the first that is not all capitals."""
    words = [f" {normalised(alias)} " for alias in aliases]
    counts = [sum(word in other for other in words) if word.strip() else 0 for word in words]
    best = [alias for alias, count in zip(aliases, counts, strict=True) if count == max(counts)]
    return next((alias for alias in best if not alias.isupper()), best[0])


def _between_semicolons(text: str) -> list[str]:
    return [part.strip() for part in text.split(";") if part.strip()]
