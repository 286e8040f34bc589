"""An interrupted evaluation goes on where it was, and answers never reach another checkpoint, task or request."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from evaluation_builders import random_model
from lm_eval.api.instance import Instance

from llamalab.checkpoint.tokenizer import Tokenizer
from llamalab.common.errors import UserError
from llamalab.evaluation import language_model
from llamalab.evaluation.language_model import CheckpointLM
from llamalab.evaluation.request_cache import RequestCache
from llamalab.model import Llama

CPU = torch.device("cpu")
VERSIONS = {"one": "1", "other": "1"}
WORDS = ["tu", "machi", "frulo gadibo", "stume", "lo", "pe che", "dafri", "mo stu"]


@pytest.fixture(scope="module")
def model() -> Llama:
    return random_model()


def asked(task: str = "one", sampled: bool = False) -> dict[str, list[Instance]]:
    """Requests of every kind by a task."""
    wanted = {"until": [], "max_gen_toks": 6, **({"do_sample": True, "temperature": 1.0} if sampled else {})}
    arguments: dict[Any, list[tuple[Any, ...]]] = {
        "loglikelihood": [("Gadibo", " " + word) for word in WORDS] + [("tu " * 60, " stume")],
        "loglikelihood_rolling": [(word * 4,) for word in WORDS],
        "loglikelihood_tokens": [("", [1, 5, 6 + i]) for i in range(8)],
        "generate_until": [(word, wanted) for word in WORDS[:4] * 2],
    }
    return {
        kind: [Instance(kind, {}, values, index, metadata=(task, index, 1)) for index, values in enumerate(of_kind)]
        for kind, of_kind in arguments.items()
    }


class Computed:
    """Counts what goes through the model, and can be killed at a given number of answers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.until: int | None = None
        for name in ("score", "generate"):
            monkeypatch.setattr(language_model, name, self.counting(getattr(language_model, name)))

    def counting(self, original: Any) -> Any:
        def counted(*arguments: Any) -> Iterator[Any]:
            for found in original(*arguments):
                if self.count == self.until:
                    raise KeyboardInterrupt
                self.count += 1
                yield found

        return counted


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> Computed:
    return Computed(monkeypatch)


def answers(model: Llama, tokenizer: Tokenizer, cache: RequestCache | None, **kinds: list[Instance]) -> list[Any]:
    """Of a fresh language model, a list per kind of request and the number of truncated ones."""
    lm = CheckpointLM(model, tokenizer, 100, CPU, cache)
    return [getattr(lm, kind)(requests) for kind, requests in kinds.items()] + [lm.truncated]


def assert_same(found: Any, expected: Any) -> None:
    """Equal up to rounding, which depends on what is computed together."""
    if isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    else:
        assert found == (pytest.approx(expected, abs=1e-4) if isinstance(expected, float) else expected)


@pytest.mark.parametrize("sampled", [False, True])
def test_a_killed_evaluation_goes_on_where_it_was(
    model: Llama, tokenizer: Tokenizer, tmp_path: Path, computed: Computed, sampled: bool
) -> None:
    whole = answers(model, tokenizer, None, **asked(sampled=sampled))
    all_of_it, computed.count = computed.count, 0
    for computed.until in (3, 12, 20, 28, None):
        cache = RequestCache(tmp_path, "weights", VERSIONS)
        if computed.until is None:
            assert_same(answers(model, tokenizer, cache, **asked(sampled=sampled)), whole)
        else:
            with pytest.raises(KeyboardInterrupt):
                answers(model, tokenizer, cache, **asked(sampled=sampled))
            with (tmp_path / "rank0.jsonl").open("a") as file:
                file.write('{"task": "one", "key": "0123", "ans')
    assert computed.count == all_of_it
    assert_same(answers(model, tokenizer, RequestCache(tmp_path, "weights", VERSIONS), **asked(sampled=sampled)), whole)
    assert computed.count == all_of_it


@pytest.mark.parametrize(
    ("subject", "versions", "task"),
    [("other weights", VERSIONS, "one"), ("weights", {"one": "2"}, "one"), ("weights", VERSIONS, "other")],
)
def test_answers_are_for_one_checkpoint_task_and_version(
    model: Llama,
    tokenizer: Tokenizer,
    tmp_path: Path,
    computed: Computed,
    subject: str,
    versions: dict[str, str],
    task: str,
) -> None:
    def ask(subject: str, versions: dict[str, str], task: str) -> int:
        before = computed.count
        answers(model, tokenizer, RequestCache(tmp_path, subject, versions), **asked(task))
        return computed.count - before

    assert ask("weights", VERSIONS, "one") > 0
    assert ask("weights", VERSIONS, "one") == 0
    assert ask(subject, versions, task) > 0


def test_a_question_of_two_tasks_is_computed_once_and_kept_for_both(
    model: Llama, tokenizer: Tokenizer, tmp_path: Path, computed: Computed
) -> None:
    both = asked("one")["loglikelihood"] + asked("other")["loglikelihood"]
    answers(model, tokenizer, RequestCache(tmp_path, "weights", VERSIONS), loglikelihood=both)
    count = computed.count
    assert count == len(asked()["loglikelihood"])
    answers(
        model, tokenizer, RequestCache(tmp_path, "weights", VERSIONS), loglikelihood=asked("other")["loglikelihood"]
    )
    assert computed.count == count


def test_other_ranks_files_are_read(tmp_path: Path) -> None:
    RequestCache(tmp_path, "weights", VERSIONS, rank=3).add(["one"], "question", 7)
    cache = RequestCache(tmp_path, "weights", VERSIONS)
    assert cache.answers == {cache.key("one", "question"): 7}
    cache.remove()
    assert not tmp_path.exists()


def test_a_task_without_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="third: has no version"):
        RequestCache(tmp_path, "weights", VERSIONS).key("third", "question")


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "rank0.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"rank0.jsonl: cannot be read.*delete it"):
        RequestCache(tmp_path, "weights", VERSIONS)
