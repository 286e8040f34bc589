"""Damaged benchmark files are refused with the file and the row."""

from pathlib import Path
from typing import Any

import pytest
from generative_benchmarks import write_generative_benchmarks, write_json, write_jsonl

from llamalab.common.errors import UserError
from llamalab.evaluation import benchmarks
from llamalab.evaluation.answers import readers
from llamalab.evaluation.answers.question_answering import trivia_qa_answers, unique_questions

GOOD = {"question": "what", "answer": ["this"]}
MATH = {"context": "?", "chain_of_thought": r"\boxed{2}", "category": "algebra"}
PROMPTS = "realtoxicityprompts/quark_val.jsonl.gz"


@pytest.mark.parametrize(
    ("dataset", "file", "rows", "message"),
    [
        ("nq_open", "nq_open/NQ-open.dev.jsonl.gz", [GOOD, {"question": "what"}], "row 2: 'answers' is missing"),
        ("nq_open", "nq_open/NQ-open.dev.jsonl.gz", [{**GOOD, "answer": []}], "row 1: 'answer' is missing"),
        (
            "nq_open",
            "nq_open/NQ-open.dev.jsonl.gz",
            [{**GOOD, "answer": [" "]}],
            "row 1: 'answer' is no list",
        ),
        ("nq_open", "nq_open/NQ-open.dev.jsonl.gz", [{**GOOD, "question": ""}], "row 1: 'question' is missing"),
        ("nq_open", "nq_open/NQ-open.dev.jsonl.gz", [], "is empty"),
        ("math", "math/test.jsonl.gz", [{"context": "?", "chain_of_thought": "2", "category": "algebra"}], "no .boxed"),
        (
            "math",
            "math/test.jsonl.gz",
            [{"context": "?", "chain_of_thought": "\\boxed{2}", "category": "x"}],
            "category",
        ),
        ("gsm8k", "gsm8k/test.jsonl.gz", [{"question": "?", "answer": "two"}], "row 1: 'answer' has no number"),
        (
            "real_toxicity_prompts",
            "realtoxicityprompts/quark_val.jsonl.gz",
            [{"prompt": {}}],
            "row 1: 'text' is missing",
        ),
    ],
)
def test_a_damaged_file_is_named(dataset: str, file: str, rows: list[Any], message: str, tmp_path: Path) -> None:
    write_generative_benchmarks(tmp_path)
    assert benchmarks.load(dataset, str(tmp_path))
    write_jsonl(tmp_path / file, rows)
    with pytest.raises(UserError, match=message) as raised:
        benchmarks.load(dataset, str(tmp_path))
    assert file in str(raised.value)


@pytest.mark.parametrize("labels", [{"a": 1, "b": 1}, {"a": 0, "b": 0}, {"a": 1, "b": None}, {"a": 1, "b": 1, "c": 0}])
def test_unusable_labels_of_truthful_qa(labels: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "mc.json.gz"
    row = {"question": "?", "mc1_targets": {"a": 1, "b": 0}, "mc2_targets": {"a": 1, "b": 0}}
    write_json(path, [row])
    readers.truthful_qa_multiple_choice(path)
    write_json(path, [row, {**row, "mc1_targets": labels}])
    with pytest.raises(UserError, match="row 2: 'mc1_targets' has no usable labels"):
        readers.truthful_qa_multiple_choice(path)


def test_true_choices_come_first(tmp_path: Path) -> None:
    path = tmp_path / "mc.json.gz"
    write_json(path, [{"question": "?", "mc1_targets": {"a": 0, "b": 1}, "mc2_targets": {"a": 0, "b": 1, "c": 1}}])
    (row,) = readers.truthful_qa_multiple_choice(path)["validation"]
    assert row["mc1_targets"] == {"choices": ["b", "a"], "labels": [1, 0]}
    assert row["mc2_targets"] == {"choices": ["b", "c", "a"], "labels": [1, 1, 0]}


@pytest.mark.parametrize(
    ("aliases", "shown"),
    [
        (["🚁", "Helicopters", "Civilian helicopter", "Helicopter", "Copter", "Pescara (helicopter)"], "Helicopter"),
        (["AQUITAINE", "Aquitaine", "Region of Aquitaine"], "Aquitaine"),
        (["Chi-Beria", "Chicago, Illinois", "Chicago"], "Chicago"),
        (["NATO"], "NATO"),
        (["🚁"], "🚁"),
    ],
)
def test_the_alias_that_examples_show(aliases: list[str], shown: str, tmp_path: Path) -> None:
    path = tmp_path / "trivia.jsonl.gz"
    write_jsonl(path, [{"question": "?", "answers": aliases}])
    row = readers.trivia_qa(path, path)["train"][0]
    answers = trivia_qa_answers(row)
    assert answers[0] == shown
    assert sorted(answers) == sorted(aliases)


def test_a_question_of_both_parts_of_trivia_qa_is_asked_once() -> None:
    datasets = pytest.importorskip("datasets")
    rows = [{"question_id": name, "question": f"{name}{i}"} for i, name in enumerate(["a", "b", "a", "c", "b"])]
    assert unique_questions(datasets.Dataset.from_list(rows))["question"] == ["a0", "b1", "c3"]


def test_math_on_the_hub_is_its_seven_subjects(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    from llamalab.evaluation.answers.mathematics import load_subjects

    asked = []

    def load_dataset(path: str, name: str) -> Any:
        asked.append((path, name))
        return {"test": datasets.Dataset.from_list([{"problem": name}])}

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    found = load_subjects("math", ["algebra", "geometry"], benchmarks_dir=None, samples=None)
    assert found["test"]["problem"] == ["algebra", "geometry"]
    assert asked == [("EleutherAI/hendrycks_math", "algebra"), ("EleutherAI/hendrycks_math", "geometry")]
