"""The generative suites from a checkpoint to their tables, on made-up benchmark files and a tiny random model."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from evaluation_builders import CONF, write_run
from generative_benchmarks import write_generative_benchmarks
from hydra import compose, initialize_config_dir

from llamalab.evaluation.run import run

CLOSED_BOOK = ["paper_exact_match", "line_exact_match", "exact_match"]
MAJORITY = ["maj1@k", "sample_exact_match"]
LIKENESS = ["bleu_acc", "rouge1_acc", "rougeL_acc"]
SCORED = ["toxicity", "toxic", "unscored", "empty"]


def share_of_a(texts: list[str]) -> list[float | None]:
    """A scorer that needs no network; the model's text is noise, so any rule will do."""
    return [min(1.0, text.count("a") / 10) for text in texts]


def closed_book(name: str) -> dict[str, list[str]]:
    return {f"paper_{name}_{shots}shot": CLOSED_BOOK for shots in (0, 1, 5, 64)}


SUITES: dict[str, tuple[list[str], dict[str, list[str]]]] = {
    "natural_questions": ([], closed_book("natural_questions")),
    "trivia_qa": ([], closed_book("trivia_qa")),
    "web_questions": ([], closed_book("web_questions")),
    "math": (
        ["samples=2"],
        {
            "paper_math": ["paper_exact_match", "equivalent"],
            "paper_math_maj": MAJORITY,
            "paper_gsm8k": ["paper_exact_match", "exact_match", "exact_match_flexible"],
            "paper_gsm8k_maj": MAJORITY,
        },
    ),
    "toxicity": (
        ["scorer=function", "scorer.function=test_answer_suites.share_of_a"],
        {"paper_toxicity_basic": SCORED, "paper_toxicity_respectful": SCORED},
    ),
    "truthful_qa": (
        [],
        {
            "paper_truthful_qa_generation": LIKENESS,
            "paper_truthful_qa_mc1": ["acc"],
            "paper_truthful_qa_mc2": ["acc"],
        },
    ),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tokenizer_bytes: bytes) -> Path:
    """A folder with one run and the benchmark files."""
    folder = tmp_path_factory.mktemp("place")
    write_run(folder / "run", tokenizer_bytes)
    write_generative_benchmarks(folder / "benchmarks")
    return folder


def evaluate(place: Path, suite: str, *overrides: str) -> dict[str, Any]:
    out = place / "scores" / suite
    with initialize_config_dir(str(CONF), version_base="1.3"):
        given = [
            f"checkpoint={place / 'run'}",
            f"benchmarks_dir={place / 'benchmarks'}",
            f"out={out}",
            f"suite={suite}",
        ]
        run(compose("eval", [*given, "accelerator=cpu", *overrides]))
    summary: dict[str, Any] = json.loads((out / "summary.json").read_text())
    return summary


def samples(place: Path, suite: str, task: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (place / f"scores/{suite}/samples_{task}.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("suite", SUITES)
def test_every_task_and_metric_of_the_suite_is_in_its_table(suite: str, place: Path) -> None:
    overrides, wanted = SUITES[suite]
    summary = evaluate(place, suite, *overrides)
    found: dict[str, list[str]] = {}
    for row in summary["rows"]:
        found.setdefault(row["task"], []).append(row["metric"])
        assert 0 <= row["value"] <= 1
    assert found == wanted
    assert summary["missing"] == []
    # the tiny model's context is shorter than most prompts and texts
    assert summary["truncated_requests"] > 0
    if suite == "math":
        assert all(not row["paper_metric"] for row in summary["rows"] if row["metric"] in MAJORITY)
        assert summary["notes"]["paper_math_maj"] == ["k = 2; the paper's is 256"]
        assert summary["counts"]["paper_math"]["generations with less room than the task asks for"] == 2
        (sampled, *_) = samples(place, suite, "paper_math_maj")
        assert len(sampled["resps"][0]) == len(set(sampled["resps"][0])) == 2
    if suite == "trivia_qa":
        assert all("UNFILTERED" in notes[0] for notes in summary["notes"].values())
    if suite == "toxicity":
        (continued, *_) = samples(place, suite, "paper_toxicity_basic")
        assert continued["toxicity"] == share_of_a([continued["resps"][0][0]])[0]


def test_without_a_scorer_continuations_are_recorded_and_sent_nowhere(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any) -> None:
        raise AssertionError("nobody asked to be connected")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("PERSPECTIVE_API_KEY", "made up")  # a key alone is no wish to use it
    summary = evaluate(place, "toxicity", "scorer=none")
    assert {row["metric"] for row in summary["rows"]} == {"empty"}
    assert not any(row["paper_metric"] for row in summary["rows"])
    assert "no scorer was chosen" in summary["notes"]["paper_toxicity_basic"][0]
    texts = [sample["resps"][0][0] for sample in samples(place, "toxicity", "paper_toxicity_respectful")]
    assert len(texts) == 3
    assert all(texts)
