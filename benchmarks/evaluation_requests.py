"""What benchmarks/evaluation.py asks: requests over real benchmark files, in the prompts of lm-eval's stock tasks."""

import csv
import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance

# How many new tokens a generation has: a model with random weights writes no stop string, and an answer to a GSM8k
# question has about so many.
ANSWER_TOKENS = 128
SHOTS = {"mmlu": 5, "gsm8k": 8}


def rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a gzipped JSON Lines file."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def spread(items: list[Any], count: int) -> list[Any]:
    """`count` of the items at even distances."""
    step = max(1, len(items) // count)
    return items[::step][:count]


def instances(kind: str, arguments: list[tuple[Any, ...]]) -> list[Instance]:
    """lm-eval's requests with these arguments."""
    return [Instance(kind, {}, values, index) for index, values in enumerate(arguments)]


def hellaswag(folder: Path, documents: int) -> list[Instance]:
    """0-shot: the context and each of four endings."""
    chosen = spread(rows(folder / "hellaswag" / "hellaswag_val.converted.jsonl.gz"), documents)
    return instances("loglikelihood", [(row["ctx"], " " + ending) for row in chosen for ending in row["endings"]])


def arc(folder: Path, documents: int) -> list[Instance]:
    """0-shot: the question and each choice, the easy and the challenge set in proportion to their sizes."""
    both = [row for name in ("arc_easy", "arc_challenge") for row in rows(folder / name / "test.jsonl.gz")]
    chosen = spread(both, documents)
    pairs = [(f"{row['query']}\nAnswer:", " " + choice) for row in chosen for choice in row["choices"]]
    return instances("loglikelihood", pairs)


def mmlu(folder: Path, documents: int) -> list[Instance]:
    """5-shot in Hendrycks' format: four letters after each question, two subjects, of prompts of common length."""
    subjects = ("high_school_geography", "professional_accounting")
    pairs = []
    with tarfile.open(folder / "mmlu.tar.gz") as archive:
        for subject in subjects:
            shots, questions = (_mmlu_rows(archive, split, subject) for split in ("dev", "test"))
            title = f"The following are multiple choice questions (with answers) about {subject.replace('_', ' ')}.\n\n"
            few = "".join(f"{_mmlu_question(row)} {row[5]}\n\n" for row in shots[: SHOTS["mmlu"]])
            for row in spread(questions, documents // len(subjects)):
                pairs += [(title + few + _mmlu_question(row), f" {letter}") for letter in "ABCD"]
    return instances("loglikelihood", pairs)


def _mmlu_rows(archive: tarfile.TarFile, split: str, subject: str) -> list[list[str]]:
    file = archive.extractfile(f"mmlu/{split}/{subject}_{split}.csv")
    assert file is not None
    return list(csv.reader(io.TextIOWrapper(file, encoding="utf-8")))


def _mmlu_question(row: list[str]) -> str:
    choices = "".join(f"{letter}. {text}\n" for letter, text in zip("ABCD", row[1:5], strict=True))
    return f"{row[0]}\n{choices}Answer:"


def gsm8k(folder: Path, documents: int) -> list[Instance]:
    """8-shot greedy generation, the same eight examples before every question."""
    shots = rows(folder / "gsm8k" / "train.jsonl.gz")[: SHOTS["gsm8k"]]
    few = "".join(f"Question: {row['question']}\nAnswer: {row['answer']}\n\n" for row in shots)
    wanted = {"until": ["Question:", "</s>", "<|im_end|>"], "do_sample": False, "max_gen_toks": ANSWER_TOKENS}
    chosen = spread(rows(folder / "gsm8k" / "test.jsonl.gz"), documents)
    prompts = [f"{few}Question: {row['question']}\nAnswer:" for row in chosen]
    return instances("generate_until", [(prompt, dict(wanted)) for prompt in prompts])


WORKLOADS: dict[str, Callable[[Path, int], list[Instance]]] = {
    "hellaswag": hellaswag,
    "arc": arc,
    "mmlu": mmlu,
    "gsm8k": gsm8k,
}


def texts(requests: list[Instance]) -> list[str]:
    """What the requests consist of, for a tokenizer to be trained on."""
    found = []
    for request in requests:
        context, rest = request.args
        found.append(context + rest if isinstance(rest, str) else context)
    return found
