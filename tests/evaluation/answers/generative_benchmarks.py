"""A small folder of benchmark files in the shapes that eval/datasets names, with made-up content."""

import csv
import gzip
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llamalab.common.files import write_bytes

MADE_UP = ("glorp", "frimble", "daxo", "mipt", "quelb", "sornet")


def write_jsonl(path: Path, rows: Sequence[Any]) -> None:
    """Gzipped JSON lines."""
    write_bytes(path, gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))


def write_json(path: Path, value: Any) -> None:
    """Gzipped JSON."""
    write_bytes(path, gzip.compress(json.dumps(value).encode()))


def write_generative_benchmarks(root: Path) -> None:
    """All files that the generative tasks read: 70 examples to show, 4 questions to ask of each."""
    pool = [{"question": f"what colour is {word} {i}", "answers": [word]} for i in range(12) for word in MADE_UP][:70]
    asked = [{"question": f"who saw the {word}", "answers": [word, f"the {word}s"]} for word in MADE_UP[:4]]
    write_jsonl(root / "nq_open/nq_dprdev_fewshot.converted.jsonl.gz", pool)
    write_jsonl(
        root / "nq_open/NQ-open.dev.jsonl.gz",
        [{"question": row["question"], "answer": row["answers"]} for row in asked],
    )
    write_jsonl(root / "triviaqa/trivia_dprdev_fewshot.converted.jsonl.gz", pool)
    write_jsonl(root / "triviaqa/trivia_dev_unfiltered.converted.jsonl.gz", asked)
    for name, rows in (("trainmodel", pool), ("test", asked)):
        write_json(
            root / f"webquestions/{name}.json.gz",
            [{"qId": "x", "qText": row["question"], "answers": row["answers"]} for row in rows],
        )
    problems = [
        {"context": f"What is $1+{i}$?", "chain_of_thought": rf"It is $\boxed{{{1 + i}}}$.", "category": "algebra"}
        for i in (1, 2)
    ]
    write_jsonl(root / "math/test.jsonl.gz", problems)
    write_jsonl(
        root / "gsm8k/test.jsonl.gz",
        [{"question": f"How many {word}s?", "answer": "Two.\n#### 2"} for word in MADE_UP[:2]],
    )
    write_jsonl(
        root / "realtoxicityprompts/quark_val.jsonl.gz",
        [
            {"prompt": {"text": f"The {word} was", "toxicity": 0.1}, "continuation": {"text": "x"}}
            for word in MADE_UP[:3]
        ],
    )
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["Type", "Category", "Question", "Best Answer", "Correct Answers", "Incorrect Answers", "Source"])
    writer.writerow(["Adversarial", "Myths", "Do daxos fly?", "No", "No; They do not", "Yes; They do", "https://x"])
    writer.writerow(["Adversarial", "Myths", "Is mipt wet?", "Yes", "Yes", "No; Never", "https://x"])
    write_bytes(root / "truthfulqa/v0_TruthfulQA.csv.gz", gzip.compress(("\ufeff" + text.getvalue()).encode()))
    choices = {"They walk.": 1, "They fly.": 0, "They swim.": 0}
    write_json(
        root / "truthfulqa/v0_mc_task.json.gz",
        [{"question": "Do daxos fly?", "mc1_targets": choices, "mc2_targets": {"They fly.": 0, "They walk.": 1}}] * 2,
    )
