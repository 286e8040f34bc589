"""Two processes share out the documents of a task and the first one has all of them."""

import json
import multiprocessing
import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from evaluation_builders import random_model
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager

from llamalab.checkpoint.tokenizer import Tokenizer
from llamalab.evaluation.language_model import CheckpointLM
from llamalab.evaluation.ranks import ALONE, Ranks, ranks_of_launch

WORDS = ["tu", "machi", "frulo", "stume", "lo", "pe", "dafri"]  # an odd number: the ranks have unequally many


@pytest.fixture
def task(tmp_path: Path) -> dict[str, Any]:
    """lm-eval's config of a task with a choice and a repeated, sampled generation would be two; this is the choice."""
    rows = [{"context": word, "choices": [" gadibo", " tu", " lo"], "label": i % 3} for i, word in enumerate(WORDS)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "task": "shared_out",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "rows.jsonl")}, "cache_dir": str(tmp_path / "cache")},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{context}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "label",
        "target_delimiter": "",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }


def scored(task: dict[str, Any], tokenizer: Tokenizer, ranks: Ranks) -> tuple[Any, int]:
    """The log-likelihoods by document (on the first rank) and how many requests were asked of this rank."""
    lm = CheckpointLM(random_model(), tokenizer, 200, torch.device("cpu"), ranks=ranks)
    asked: list[int] = []
    original = lm.loglikelihood
    lm.loglikelihood = lambda requests, **kwargs: asked.append(len(requests)) or original(requests)  # type: ignore[method-assign]
    loaded = TaskManager(include_defaults=False).load([task])
    results = evaluate(lm=lm, task_dict=loaded, bootstrap_iters=0)
    total = ranks.total(asked[0])
    if results is None:
        return None, total
    samples = {sample["doc_id"]: sample["filtered_resps"] for sample in results["samples"]["shared_out"]}
    return (samples, results["results"]["shared_out"]), total


def as_rank(rank: int, port: int, task: dict[str, Any], tokenizer: Tokenizer, answers: Any) -> None:
    """What torchrun would start."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with ranks_of_launch() as ranks:
        answers.put((rank, scored(task, tokenizer, ranks)))
        ranks.wait()


def test_two_ranks_give_the_scores_of_one(task: dict[str, Any], tokenizer: Tokenizer) -> None:
    alone, total = scored(task, tokenizer, ALONE)
    assert total == 3 * len(WORDS)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # forked, so that nothing is imported again
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    workers = [context.Process(target=as_rank, args=(rank, port, task, tokenizer, answers)) for rank in range(2)]
    for worker in workers:
        worker.start()
    found = dict(answers.get(timeout=240) for _ in workers)
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    together, shared_total = found[0]
    assert found[1] == (None, shared_total)
    assert shared_total == total
    assert together[1]["acc,none"] == alone[1]["acc,none"]
    assert together[0].keys() == alone[0].keys()
    for document, responses in alone[0].items():
        assert [score for score, _ in together[0][document]] == pytest.approx([s for s, _ in responses], abs=1e-4)


def test_a_rank_takes_its_own_gpu() -> None:
    assert Ranks(1, 2).device(torch.device("cpu")) == torch.device("cpu")
    assert Ranks(1, 2).device(torch.device("cuda", 3)) == torch.device("cuda", 3)
    assert ALONE.device(torch.device("cuda")) == torch.device("cuda")


def test_a_rank_takes_the_gpu_of_its_place_on_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert Ranks(5, 8).device(torch.device("cuda")) == torch.device("cuda", 1)
