"""The held-out tasks through lm-eval with models that know everything or nothing."""

import json
import math
import random
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch
from evaluation_builders import documents, random_model
from lm_eval.api.instance import Instance
from lm_eval.evaluator import simple_evaluate

from llamalab.checkpoint.tokenizer import Tokenizer
from llamalab.common.errors import UserError
from llamalab.evaluation import tasks
from llamalab.evaluation.documents import Document
from llamalab.evaluation.heldout import ContinuationChoices, Excerpts
from llamalab.evaluation.language_model import CheckpointLM
from llamalab.evaluation.summary import rows_of

DOMAINS = ("code", "prose")


@pytest.fixture(scope="module")
def corpus() -> dict[str, list[Document]]:
    return {kind: [Document(str(row["id"]), str(row["text"])) for row in documents(kind, 20, 60)] for kind in DOMAINS}


@pytest.fixture(scope="module")
def files(corpus: dict[str, list[Document]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Path]]:
    """The rows of both tasks on disk."""
    builders = {
        "heldout_continuation": ContinuationChoices(200, 200, 40, 0.1, 0.5, 0),
        "heldout_bits_per_byte": Excerpts(5000, 800, 0),
    }
    folder = tmp_path_factory.mktemp("items")
    made: dict[str, dict[str, Path]] = {}
    for task, builder in builders.items():
        for domain, held_out in corpus.items():
            path = folder / f"{task}_{domain}.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in builder.rows(domain, held_out)))
            made.setdefault(task, {})[domain] = path
    return made


def evaluate(lm: CheckpointLM, task: str, files: dict[str, dict[str, Path]], cache: Path) -> list[dict[str, Any]]:
    manager = tasks.task_manager([task], {})
    group = tasks.per_domain(manager, task, files[task], cache)
    results = simple_evaluate(model=lm, tasks=[group], task_manager=manager)
    assert results is not None
    return rows_of(dict(results), task, DOMAINS)


class Oracle(CheckpointLM):
    """Knows the documents by heart: the true continuation has probability one."""

    texts: list[str]

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        return [
            (0.0 if any("".join(request.args) in text for text in self.texts) else -5.0, False) for request in requests
        ]


class Deaf(CheckpointLM):
    """Has opinions about texts but ignores their contexts."""

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        return [(-len(text) * (1 + random.Random(text).random()), False) for _, text in (r.args for r in requests)]


def test_an_oracle_gets_everything_right(
    files: dict[str, dict[str, Path]], corpus: dict[str, list[Document]], tokenizer: Tokenizer, tmp_path: Path
) -> None:
    oracle = Oracle(random_model(), tokenizer, 1000, torch.device("cpu"))
    oracle.texts = [document.text for held_out in corpus.values() for document in held_out]
    rows = evaluate(oracle, "heldout_continuation", files, tmp_path)
    assert [row["metric"] for row in rows] == ["acc_neutral"] * 3 + ["acc_norm"] * 3
    assert [row["value"] for row in rows] == [1.0] * 6
    assert [row["n"] for row in rows] == [400, 200, 200] * 2
    assert {row["chance"] for row in rows} == {0.25}


def test_a_model_that_ignores_the_context_scores_exactly_chance(
    files: dict[str, dict[str, Path]], tokenizer: Tokenizer, tmp_path: Path
) -> None:
    rows = evaluate(Deaf(random_model(), tokenizer, 1, torch.device("cpu")), "heldout_continuation", files, tmp_path)
    assert [row["value"] for row in rows] == [0.25] * 6


def test_a_random_model_scores_chance(files: dict[str, dict[str, Path]], tokenizer: Tokenizer, tmp_path: Path) -> None:
    lm = CheckpointLM(random_model(), tokenizer, 4000, torch.device("cpu"))
    rows = evaluate(lm, "heldout_continuation", files, tmp_path)
    for row in rows:
        count = row["n"]
        if row["domain"] is not None:
            assert row["stderr"] == pytest.approx(math.sqrt(row["value"] * (1 - row["value"]) / (count - 1)))
        assert abs(row["value"] - 0.25) < 3 * row["stderr"], row


def test_bits_per_byte_of_a_uniform_model_is_that_of_its_vocabulary(
    files: dict[str, dict[str, Path]], tokenizer: Tokenizer, tmp_path: Path
) -> None:
    model = random_model()
    with torch.no_grad():
        model.head_weight().zero_()
    rows = evaluate(CheckpointLM(model, tokenizer, 4000, torch.device("cpu")), "heldout_bits_per_byte", files, tmp_path)
    for row, domains in zip(rows, [DOMAINS, *((domain,) for domain in DOMAINS)], strict=True):
        texts = [
            json.loads(line)["text"]
            for domain in domains
            for line in files["heldout_bits_per_byte"][domain].read_text().splitlines()
        ]
        tokens = sum(len(tokenizer.encode(text, bos=False)) for text in texts)
        expected = tokens * math.log2(model.vocab_size) / sum(len(text.encode()) for text in texts)
        assert row["value"] == pytest.approx(expected, rel=1e-6)
        assert row["n"] == len(texts)


def test_the_paper_rules_recomputed_from_the_samples(
    files: dict[str, dict[str, Path]], tokenizer: Tokenizer, tmp_path: Path
) -> None:
    """acc_norm divides by characters of the completion, acc_neutral by the probability in neutral contexts."""
    manager = tasks.task_manager(["heldout_continuation"], {})
    group = tasks.per_domain(manager, "heldout_continuation", files["heldout_continuation"], tmp_path)
    lm = CheckpointLM(random_model(), tokenizer, 4000, torch.device("cpu"))
    results = simple_evaluate(model=lm, tasks=[group], task_manager=manager, limit=50)
    assert results is not None
    samples = [sample for of_task in results["samples"].values() for sample in of_task]
    assert len(samples) == 100
    for sample in samples:
        choices, gold = sample["doc"]["choices"], sample["doc"]["gold"]
        contexts = [sample["doc"]["context"], *sample["doc"]["neutral"]]
        assert sample["arguments"] == [(context, choice) for context in contexts for choice in choices]
        scores = [response[0] for response in sample["filtered_resps"]]
        by_characters = [score / len(choice) for score, choice in zip(scores[:4], choices, strict=True)]
        gain = [scores[i] - statistics.mean([scores[4 + i], scores[8 + i], scores[12 + i]]) for i in range(4)]
        assert sample["acc_norm"] == (by_characters.index(max(by_characters)) == gold)
        assert sample["acc_neutral"] == (gain.index(max(gain)) == gold)


def test_an_unknown_task_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UserError, match=r"no task 'heldout_continuatoin'.*did you mean 'heldout_continuation'"):
        tasks.task_manager(["heldout_continuatoin"], {})
