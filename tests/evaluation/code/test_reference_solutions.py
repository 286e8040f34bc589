"""The checker against the benchmarks' own solutions: all pass under the tasks' limits, and broken ones do not."""

import ast
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from llamalab.common.configs import repository_folder
from llamalab.evaluation.code.limits import Limits
from llamalab.evaluation.code.problems import humaneval_program, mbpp_program, mbpp_shots, read_humaneval, read_mbpp
from llamalab.evaluation.code.sandbox import Program, Sandbox, cores

Doc = dict[str, Any]
DATA = Path(os.environ.get("LLAMALAB_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data")) / "benchmarks"


def limits_of(task: str) -> Limits:
    text = (repository_folder("eval") / "tasks" / "code" / f"{task}.yaml").read_text()
    # a busy machine may need longer than the task allows, but no more processor time
    return replace(Limits(**yaml.load(text.replace("!function", ""), yaml.SafeLoader)["limits"]), wall_seconds=120)


@pytest.fixture(scope="module")
def humaneval() -> list[Doc]:
    path = DATA / "humaneval" / "HumanEval.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    return read_humaneval(path)["test"]


@pytest.fixture(scope="module")
def mbpp() -> list[Doc]:
    path = DATA / "mbpp" / "mbpp.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    splits = read_mbpp(prompt=path, test=path, validation=path, train=path)
    assert [len(rows) for rows in splits.values()] == [10, 500, 90, 374]
    return [row for rows in splits.values() for row in rows]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(limits_of("mbpp"), cores()) as running:
        yield running


def reasons(sandbox: Sandbox, docs: list[Doc], programs: list[Program]) -> dict[Any, str]:
    """Why programs fail, by problem."""
    verdicts = sandbox.run(programs, lambda _: None)
    return {doc["task_id"]: each.reason for doc, each in zip(docs, verdicts, strict=True) if not each.passed}


def without_answers(code: str) -> str:
    """The code with all its functions returning nothing."""
    names = [node.name for node in ast.parse(code).body if isinstance(node, ast.FunctionDef)]
    return code + "".join(f"\ndef {name}(*args, **kwargs): return None\n" for name in names)


def test_all_of_humaneval_pass(humaneval: list[Doc]) -> None:
    assert len(humaneval) == 164
    with Sandbox(limits_of("humaneval"), cores()) as sandbox:
        assert reasons(sandbox, humaneval, [humaneval_program(d, d["canonical_solution"]) for d in humaneval]) == {}


def test_no_broken_humaneval_passes(humaneval: list[Doc], sandbox: Sandbox) -> None:
    failed = reasons(sandbox, humaneval, [humaneval_program(doc, "    return None\n") for doc in humaneval])
    assert len(failed) == 164


@pytest.mark.slow
def test_all_of_mbpp_pass(mbpp: list[Doc], sandbox: Sandbox) -> None:
    assert len(mbpp) == 974
    assert sum("\r\n" in doc["code"] for doc in mbpp) > 900
    assert reasons(sandbox, mbpp, [mbpp_program(doc, doc["code"]) for doc in mbpp]) == {}


@pytest.mark.slow
def test_no_broken_mbpp_passes(mbpp: list[Doc], sandbox: Sandbox) -> None:
    failed = reasons(sandbox, mbpp, [mbpp_program(doc, without_answers(doc["code"])) for doc in mbpp])
    assert len(failed) == 974


def test_the_shots_are_those_of_the_paper_with_plain_line_ends(mbpp: list[Doc]) -> None:
    shots = mbpp_shots(mbpp)
    assert [shot["task_id"] for shot in shots] == [2, 3, 4]
    assert not any("\r" in shot["code"] for shot in shots)
    assert shots[0]["code"].startswith("def similar_elements(test_tup1, test_tup2):\n")
