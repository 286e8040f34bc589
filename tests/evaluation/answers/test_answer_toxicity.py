"""Scorers of toxicity; no test here reaches the network."""

import io
import json
import socket
import urllib.error
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from llamalab.common.errors import UserError
from llamalab.evaluation.answers import scorers
from llamalab.evaluation.answers.perspective import KEY, PerspectiveScorer

CONF = Path(__file__).parents[3] / "conf"


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise AssertionError("a test wanted to reach the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.delenv(KEY, raising=False)


def rude_words(texts: Sequence[str]) -> list[float | None]:
    """A scorer of one's own."""
    return [text.count("!") / len(text) if text else None for text in texts]


def one_for_all(texts: Sequence[str]) -> list[float | None]:
    """A scorer that is wrong."""
    return [0.5]


def config(choice: str, *overrides: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        found = OmegaConf.to_container(compose("eval", [f"scorer={choice}", "checkpoint=x", *overrides]))
    assert isinstance(found, dict)
    scorer: dict[str, Any] = found["scorer"]
    return scorer


def test_no_scorer_is_the_default() -> None:
    assert scorers.make(config("none")) is None
    with initialize_config_dir(str(CONF), version_base="1.3"):
        assert compose("eval", ["checkpoint=x"]).scorer == {}


def test_a_function_of_ones_own() -> None:
    scorer = scorers.make(config("function", "scorer.function=test_answer_toxicity.rude_words"))
    assert scorer is not None
    assert list(scorer(["a!!!", "", "ab"])) == [0.75, None, 0]


def test_wrong_scorers_are_named() -> None:
    for name in ("nowhere.at_all", "test_answer_toxicity.nothing", "plain"):
        with pytest.raises(UserError, match=f"scorer.function: '{name}'"):
            scorers.make(config("function", f"scorer.function={name}"))
    scorer = scorers.make(config("function", "scorer.function=test_answer_toxicity.one_for_all"))
    assert scorer is not None
    with pytest.raises(UserError, match="gave 1 scores for 2 texts"):
        scorer(["a", "b"])
    with pytest.raises(UserError, match="scores are from 0 to 1"):
        scorers.checked([1.5], 1)
    with pytest.raises(UserError, match=r"os\.system"):
        scorers.make({"_target_": "os.system", "command": "true"})


def test_perspective_needs_a_key_and_sends_nothing_without() -> None:
    with pytest.raises(UserError, match="PERSPECTIVE_API_KEY"):
        scorers.make(config("perspective"))


class Service:
    """Answers as the service does."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []

    def __call__(self, request: Any, timeout: float) -> Any:
        self.asked.append(json.loads(request.data))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return io.BytesIO(json.dumps({"attributeScores": {"TOXICITY": {"summaryScore": {"value": answer}}}}).encode())


def refusal(code: int, content: str = "") -> urllib.error.HTTPError:
    return urllib.error.HTTPError("https://x", code, "no", {}, io.BytesIO(content.encode()))  # type: ignore[arg-type]


def perspective(monkeypatch: pytest.MonkeyPatch, cache: Path, service: Service) -> PerspectiveScorer:
    monkeypatch.setenv(KEY, "made up")
    scorer = scorers.make({**config("perspective"), "cache": str(cache)})
    assert isinstance(scorer, PerspectiveScorer)
    scorer.open = service
    return scorer


def test_perspective_is_asked_once_for_each_text(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    service = Service(0.25, 0.5)
    scorer = perspective(monkeypatch, tmp_path / "new/cache.jsonl", service)
    assert scorer(["one", "two", "one", " "]) == [0.25, 0.5, 0.25, None]
    assert [body["comment"]["text"] for body in service.asked] == ["one", "two"]
    assert service.asked[0]["requestedAttributes"] == {"TOXICITY": {}}
    with (tmp_path / "new/cache.jsonl").open("a") as file:
        file.write('{"text": "cut o')
    again = Service(0.75)
    scorer = perspective(monkeypatch, tmp_path / "new/cache.jsonl", again)
    assert scorer(["two", "three"]) == [0.5, 0.75]
    assert len(again.asked) == 1


def test_perspective_is_patient_and_makes_nothing_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    scorer = perspective(monkeypatch, tmp_path / "a", Service(refusal(429), urllib.error.URLError("gone"), 0.5))
    assert scorer(["text"]) == [0.5]
    scorer = perspective(monkeypatch, tmp_path / "b", Service(refusal(400, "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE")))
    assert scorer(["text"]) == [None]
    scorer = perspective(monkeypatch, tmp_path / "c", Service(refusal(403)))
    with pytest.raises(UserError, match=r"refuses.*403"):
        scorer(["text"])
    scorer = perspective(monkeypatch, tmp_path / "d", Service(*[refusal(503) for _ in range(6)]))
    with pytest.raises(UserError, match=r"does not answer.*503"):
        scorer(["text"])
