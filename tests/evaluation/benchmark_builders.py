"""A folder of benchmark files in the layout of eval/datasets, with a few rows of our own in each."""

import csv
import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import yaml

EVAL = Path(__file__).parents[2] / "eval"


def subjects() -> list[str]:
    """The subjects of MMLU."""
    files = sorted((EVAL / "tasks/mmlu").glob("subject_*.yaml"))
    return [yaml.safe_load(path.read_text())["dataset_kwargs"]["subset"] for path in files]


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    """JSON lines, gzipped if the name says so."""
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def write_text(path: Path, text: str) -> None:
    """A text, gzipped if the name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def mmlu_csv(rows: list[list[str]]) -> bytes:
    """Hendrycks' layout."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def write_mmlu(path: Path, tables: dict[str, bytes]) -> None:
    """An archive of the given members."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in tables.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def mmlu_tables() -> dict[str, bytes]:
    """Two test and five development questions of every subject."""
    tables = {}
    for subject in subjects():
        for split, count in (("test", 2), ("dev", 5)):
            rows = [[f" What is {i} plus one?", str(i), str(i + 1), "one", "none", "B"] for i in range(count)]
            tables[f"mmlu/{split}/{subject}_{split}.csv"] = mmlu_csv(rows)
    return tables


def write_benchmarks(root: Path) -> Path:
    """The files of all multiple-choice and likelihood benchmarks below `root`/benchmarks, which is returned."""
    folder = root / "benchmarks"
    write_jsonl(
        folder / "boolq/dev.jsonl.gz",
        [
            {"question": "is snow cold", "title": "Snow", "answer": True, "passage": "Snow is frozen water."},
            {"question": "is snow green", "title": "Snow", "answer": "False", "passage": "Snow is frozen water."},
        ],
    )
    write_jsonl(
        folder / "piqa/valid.jsonl.gz",
        [
            {"goal": "How do I dry a cup?", "sol1": "Wipe it with a towel.", "sol2": "Wipe it with a wet sponge."},
            {"goal": "boil water", "sol1": "Put it on ice.", "sol2": "Put it on the stove."},
        ],
    )
    write_text(folder / "piqa/valid-labels.lst", "0\n1\n")
    write_jsonl(
        folder / "siqa/dev.jsonl.gz",
        [
            {
                "context": "Ada lent Bo her umbrella.",
                "question": "How would Bo feel?",
                "answerA": "angry",
                "answerB": "grateful",
                "answerC": "hungry",
            },
            {
                "context": "Bo forgot it.",
                "question": "What will Ada do next?",
                "answerA": "get wet",
                "answerB": "sing",
                "answerC": "fly away",
            },
        ],
    )
    write_text(folder / "siqa/dev-labels.lst", "2\n1\n")
    write_jsonl(
        folder / "hellaswag/hellaswag_val.converted.jsonl.gz",
        [
            {
                "ind": 0,
                "activity_label": "Baking bread",
                "ctx": "Baking bread: Flour lies on a table. the baker",
                "label": 2,
                "endings": ["swims.", "sings to it.", "adds water.", "leaves."],
            },
            {
                "ind": 1,
                "activity_label": "Home",
                "ctx": "Home: How to sweep. Take a broom.",
                "label": 0,
                "endings": ["Move it.", "Eat it.", "Paint it.", "Sell it."],
            },
        ],
    )
    write_jsonl(
        folder / "winogrande/dev.jsonl.gz",
        [
            {
                "sentence": "The cup did not fit: the _ was big.",
                "option1": "cup",
                "option2": "box",
                "answer": "1",
            },
            {"sentence": "Ada thanked Bo since _ had helped.", "option1": "Ada", "option2": "Bo", "answer": "2"},
        ],
    )
    for name in ("arc_easy", "arc_challenge"):
        write_jsonl(
            folder / name / "test.jsonl.gz",
            [
                {"query": "Question: What melts ice?", "choices": ["heat", "cold", "sand", "dark"], "gold": 0},
                {"query": "Question: What is a metal?", "choices": ["wood", "iron", "wool", "clay"], "gold": 1},
            ],
        )
    letters = "ABCD"
    write_jsonl(
        folder / "openbookqa/test.jsonl.gz",
        [
            {
                "id": str(number),
                "question": {
                    "stem": stem,
                    "choices": [{"text": text, "label": letter} for text, letter in zip(choices, letters, strict=True)],
                },
                "answerKey": answer,
            }
            for number, (stem, choices, answer) in enumerate(
                [
                    ("Plants need", ["stone", "light", "noise", "cars"], "B"),
                    ("Rain falls from", ["clouds", "trees", "pits", "roads"], "A"),
                ]
            )
        ],
    )
    for level in ("middle", "high"):
        write_jsonl(
            folder / f"race/test_{level}.jsonl.gz",
            [
                {
                    "id": f"{level}1.txt",
                    "article": "Ada has a dog.\nIt is black.",
                    "questions": ["Who has a dog?", "The dog is  _  ."],
                    "options": [["Ada", "Bo", "Cy", "Di"], ["red", "blue", "black", "green"]],
                    "answers": ["A", "C"],
                },
                {
                    "id": f"{level}2.txt",
                    "article": "Bo runs.",
                    "questions": ["What does Bo do?"],
                    "options": [["He runs.", "He sits.", "He eats.", "He sings."]],
                    "answers": ["A"],
                },
            ],
        )
    write_mmlu(folder / "mmlu.tar.gz", mmlu_tables())
    write_text(
        folder / "crows_pairs/crows_pairs_anonymized.csv.gz",
        ",sent_more,sent_less,stereo_antistereo,bias_type\n"
        '0,"Old men, they say, forget.","Young men, they say, forget.",stereo,age\n'
        "1,She cooks well.,He cooks well.,stereo,gender\n"
        "2,He fixes cars.,She fixes cars.,antistereo,gender\n",
    )
    schemas = {
        "nurse.patient.0": "The nurse told the patient that {} would be late.",
        "nurse.patient.1": "The nurse told the patient that {} would be well.",
        "plumber.someone.0": "The plumber told someone that {} would be late.",
        "plumber.someone.1": "The plumber told someone that {} could pay later.",
    }
    lines = [
        f"{schema}.{gender}.txt\t{sentence.format(pronoun)}\n"
        for schema, sentence in schemas.items()
        for gender, pronoun in (("male", "he"), ("female", "she"), ("neutral", "they"))
    ]
    write_text(folder / "winogender/all_sentences.tsv", "sentid\tsentence\n" + "".join(lines))
    text = "".join(f" = Part {i} = \n \n Rain and snow fell on town {i} for {i} days . \n" for i in range(20))
    write_text(root / "corpus/wikipedia/wikitext-2.test.txt.gz", text)
    return folder
