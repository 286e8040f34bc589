"""The code tasks as lm-eval runs them: prompts, what is run, pass@k, and what happens without permission."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.evaluator import simple_evaluate

from llamalab.common.errors import UserError
from llamalab.evaluation.code.problems import read_humaneval, read_mbpp
from llamalab.evaluation.code.task import CannotExecute
from llamalab.evaluation.tasks import notes_of, task_manager


def adder(number: int) -> dict[str, Any]:
    """A problem like HumanEval's: add `number`."""
    return {
        "task_id": f"HumanEval/{number}",
        "prompt": f'def add(x):\n    """Adds {number}."""\n',
        "canonical_solution": f"    return x + {number}\n",
        "test": f"def check(candidate):\n    for x in (1, -1):\n        assert candidate(x) == x + {number}\n",
        "entry_point": "add",
    }


def multiplier(number: int) -> dict[str, Any]:
    """A problem like MBPP's: multiply by `number`. The line ends are theirs."""
    return {
        "task_id": number,
        "text": f"Write a function to multiply by {number}.",
        "code": f"def multiply(x):\r\n    return {number} * x",
        "test_setup_code": "three = 3\r\n",
        "test_list": [f"assert multiply({x}) == {number} * {x}" for x in ("1", "2", "three")],
        "challenge_test_list": [],
    }


@pytest.fixture
def benchmarks_dir(tmp_path: Path) -> Path:
    for name, rows in (
        ("humaneval/HumanEval", [adder(number) for number in range(4)]),
        ("mbpp/mbpp", [multiplier(number) for number in range(1, 15)]),
    ):
        path = tmp_path / f"{name}.jsonl.gz"
        path.parent.mkdir()
        path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    return tmp_path


class Scripted(LM):
    """Answers each repeat of a request with the next of its answers, and keeps what it was asked.

    Args:
        answers: (a text that is in the prompt's last lines, the answers to it).
    """

    def __init__(self, answers: dict[str, list[str]]) -> None:
        super().__init__()
        self.answers, self.asked = answers, []

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        self.asked = [request.args for request in requests]
        given: dict[str, int] = {}
        texts = []
        for prompt, _ in self.asked:
            key = next(key for key in self.answers if key in prompt[-200:])
            given[key] = given.get(key, -1) + 1
            texts.append(self.answers[key][given[key]])
        return texts

    def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> Any:
        raise NotImplementedError

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> Any:
        raise NotImplementedError


def load(name: str, folder: Path, **metadata: Any) -> Any:
    given = {"benchmarks_dir": str(folder), "allow_code_execution": True, "samples": None, **metadata}
    return task_manager([name], given).load([name])["tasks"][name]


def evaluate(task: Any, model: LM) -> dict[str, Any]:
    # without a manager lm-eval would read thousands of its own task files
    results = simple_evaluate(model=model, tasks=[task], task_manager=task_manager([], {}))
    assert results is not None
    return results


def test_humaneval_counts_programs_that_pass_their_tests(
    benchmarks_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda results: None)
    good, bad = "    return x + {}\n", "    return x - 1 - {}\n"
    passing = {0: 4, 1: 2, 2: 1, 3: 0}  # of four samples
    model = Scripted({f"Adds {n}.": [good.format(n)] * c + [bad.format(n)] * (4 - c) for n, c in passing.items()})
    task = load("paper_humaneval", benchmarks_dir, samples=4)
    results = evaluate(task, model)
    found = results["results"]["paper_humaneval"]
    assert found["pass@1,none"] == pytest.approx((4 + 2 + 1) / 16)
    assert found["pass@1_stderr,none"] > 0
    assert "pass@10,none" not in found
    assert notes_of(task) == ["no pass@10: 4 samples a problem are too few for it"]
    prompt, how = model.asked[0]
    assert prompt == adder(0)["prompt"]
    assert how["until"] == ["\nclass", "\ndef", "\n#", "\nif", "\nprint"]
    assert (how["temperature"], how["do_sample"]) == (0.1, True)
    verdicts = {s["doc"]["task_id"]: s["filtered_resps"][0] for s in results["samples"]["paper_humaneval"]}
    assert [v["passed"] for v in verdicts["HumanEval/2"]] == [True, False, False, False]
    assert verdicts["HumanEval/2"][1]["reason"].startswith("AssertionError")
    assert "network" in results["configs"]["paper_humaneval"]["metadata"]["isolation"]


def test_mbpp_shows_three_examples_and_runs_the_setup_code(
    benchmarks_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda results: None)
    solution = "def multiply(x):\r\n    return {} * x\r\n"
    model = Scripted({f"multiply({1}) == {n} *": [solution.format(n), "wrong"] for n in range(11, 15)})
    found = evaluate(load("paper_mbpp_pass80", benchmarks_dir, samples=2), model)["results"]["paper_mbpp_pass80"]
    assert found["pass@1,none"] == 0.5
    assert found["sample_len"] == 4
    prompt, how = model.asked[0]
    parts = prompt.split("You are an expert Python programmer, and here is your task: ")
    assert [part.split(".")[0] for part in parts[1:]] == [f"Write a function to multiply by {n}" for n in (2, 3, 4, 11)]
    assert parts[1] == (
        "Write a function to multiply by 2. Your code should pass these tests:\n\n"
        "assert multiply(1) == 2 * 1\nassert multiply(2) == 2 * 2\nassert multiply(three) == 2 * three\n"
        "[BEGIN]\ndef multiply(x):\n    return 2 * x\n[DONE]\n\n"
    )
    assert prompt.endswith("assert multiply(three) == 11 * three\n[BEGIN]\n")
    assert (how["until"], how["temperature"], how["top_p"]) == (["[DONE]"], 0.8, 0.95)


@pytest.mark.parametrize(
    ("name", "k", "samples"),
    [("humaneval", 1, 10), ("humaneval_pass100", 100, 200), ("mbpp", 1, 10), ("mbpp_pass80", 80, 80)],
)
def test_the_papers_metric_comes_first_and_can_be_estimated(
    benchmarks_dir: Path, name: str, k: int, samples: int
) -> None:
    task = load(f"paper_{name}", benchmarks_dir)
    assert task.config.metadata["paper_metric"] == task.config.metric_list[0]["metric"] == f"pass@{k}"
    assert task.config.repeats == samples
    assert notes_of(task) == []


def test_with_too_few_samples_no_metric_passes_for_the_papers(benchmarks_dir: Path) -> None:
    task = load("paper_humaneval_pass100", benchmarks_dir, samples=50)
    assert [entry["metric"] for entry in task.config.metric_list] == ["pass@10", "pass@1"]
    assert task.config.metadata["paper_metric"] is None


def test_nothing_runs_without_permission(benchmarks_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.Popen", None)  # what starts a launcher
    for without in ({"allow_code_execution": False}, {"allow_code_execution": None}):
        with pytest.raises(CannotExecute, match="set allow_code_execution=true"):
            load("paper_mbpp", benchmarks_dir, **without)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test": None}, "row 1: 'test' is missing"),
        ({"prompt": 3}, "row 1: 'prompt' is 3, not a str"),
    ],
)
def test_a_damaged_row_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "HumanEval.jsonl"
    path.write_text(json.dumps({**adder(1), **change}))
    with pytest.raises(UserError, match=message):
        read_humaneval(path)


def test_a_damaged_mbpp_row_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mbpp.jsonl"
    path.write_text(json.dumps(multiplier(11)) + "\n" + json.dumps({**multiplier(12), "test_list": []}))
    with pytest.raises(UserError, match="row 2: 'test_list' is missing"):
        read_mbpp(test=path)
