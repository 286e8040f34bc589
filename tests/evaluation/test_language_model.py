"""CheckpointLM: token boundaries, one BOS, windows, truncation, stop strings, batches."""

import math
from typing import Any

import pytest
import torch
from evaluation_builders import documents, random_model
from lm_eval.api.instance import Instance

from llamalab.checkpoint.tokenizer import Tokenizer
from llamalab.evaluation import language_model
from llamalab.evaluation.language_model import CheckpointLM
from llamalab.evaluation.scoring import Window
from llamalab.evaluation.stopping import StopStrings, decoded
from llamalab.model import Llama

CPU = torch.device("cpu")
PAIRS = [
    ("Gadibo frulo", " machi"),
    ("Gadibo frulo ", "machi tu"),
    ("gadibo:\n    ", "stume = 12"),
    ("", "Gadibo"),
    ("mach", "i"),
    ("Gadibo. ", "日本 é"),
    ("a b c\n", "\n"),
    ("tu " * 40, "gadibo frulo"),
]


def requests(kind: str, arguments: list[tuple[Any, ...]]) -> list[Instance]:
    return [Instance(kind, {}, values, index) for index, values in enumerate(arguments)]


def lm_of(model: Llama, tokenizer: Tokenizer, batch_tokens: int = 500) -> CheckpointLM:
    return CheckpointLM(model, tokenizer, batch_tokens, CPU)


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> list[Window]:
    """Every window that is scored."""
    seen: list[Window] = []
    original = language_model.score

    def recording(model: Llama, asked: list[Window], *rest: Any) -> Any:
        seen.extend(asked)
        return original(model, asked, *rest)

    monkeypatch.setattr(language_model, "score", recording)
    return seen


def test_loglikelihood_is_that_of_the_joint_encoding(tokenizer: Tokenizer) -> None:
    model = random_model("scale.seq_len=200")
    found = lm_of(model, tokenizer).loglikelihood(requests("loglikelihood", list(PAIRS)))
    for (context, continuation), (log_likelihood, _) in zip(PAIRS, found, strict=True):
        joint = tokenizer.encode(context + continuation)
        # white space at the end of the context is the beginning of the continuation
        before = len(tokenizer.encode(context.rstrip())) if context else 1
        if before == len(joint):  # "mach" + "i" is one piece
            before -= 1
        with torch.no_grad():
            log_probabilities = model(torch.tensor([joint]))[0].double().log_softmax(-1)
        expected = sum(float(log_probabilities[at - 1, joint[at]]) for at in range(before, len(joint)))
        assert log_likelihood == pytest.approx(expected, abs=1e-4), (context, continuation)


def test_one_bos_at_the_start_and_none_later(tokenizer: Tokenizer, windows: list[Window]) -> None:
    lm = lm_of(random_model("scale.seq_len=200"), tokenizer)
    lm.loglikelihood(requests("loglikelihood", list(PAIRS)))
    lm.loglikelihood_rolling(requests("loglikelihood_rolling", [("Gadibo frulo machi.",), ("tu",)]))
    assert len(windows) == len(PAIRS) + 2
    for window in windows:
        assert window.tokens[0] == tokenizer.bos_id
        assert tokenizer.bos_id not in [*window.tokens[1:], *window.targets]


def test_batches_of_one_and_of_sixteen_give_the_same_scores(tokenizer: Tokenizer) -> None:
    model = random_model()
    texts = [(str(row["text"])[:700],) for row in documents("prose", 6, 12)]
    pairs = [(text[0][:at], text[0][at : at + 30]) for text in texts for at in (20, 41, 90, 133)]
    one, sixteen = lm_of(model, tokenizer, 1), lm_of(model, tokenizer, 16 * model.max_seq_len)
    for kind, asked in (("loglikelihood", pairs), ("loglikelihood_rolling", texts)):
        alone = getattr(one, kind)(requests(kind, list(asked)))
        together = getattr(sixteen, kind)(requests(kind, list(asked)))
        torch.testing.assert_close(torch.tensor(alone), torch.tensor(together), atol=1e-4, rtol=0)


def test_what_is_asked_twice_is_scored_once(tokenizer: Tokenizer, windows: list[Window]) -> None:
    asked = requests("loglikelihood", [("", "gadibo"), ("tu", " gadibo"), ("", "gadibo"), ("", "machi")])
    found = lm_of(random_model(), tokenizer).loglikelihood(asked)
    assert len(windows) == 3
    assert found[0] == found[2]
    assert len(set(found)) == 3


def test_rolling_windows_predict_each_token_once(tokenizer: Tokenizer, windows: list[Window]) -> None:
    model = random_model()
    text = str(documents("prose", 1, 30)[0]["text"])
    tokens = tokenizer.encode(text, bos=False)
    assert len(tokens) > 4 * model.max_seq_len
    (found,) = lm_of(model, tokenizer).loglikelihood_rolling(requests("loglikelihood_rolling", [(text,)]))

    assert [token for window in windows for token in window.targets] == tokens
    assert max(len(window.tokens) for window in windows) == model.max_seq_len
    total = 0.0
    with torch.no_grad():
        for window in windows:
            log_probabilities = model(torch.tensor([list(window.tokens)]))[0].double().log_softmax(-1)
            first = len(window.tokens) - len(window.targets)
            total += sum(float(log_probabilities[first + i, token]) for i, token in enumerate(window.targets))
    assert found == pytest.approx(total, abs=1e-3)


def test_a_short_document_costs_its_training_loss(tokenizer: Tokenizer) -> None:
    model = random_model()
    tokens = torch.tensor([tokenizer.encode("Gadibo frulo machi tu.")])
    (found,) = lm_of(model, tokenizer).loglikelihood_rolling(
        requests("loglikelihood_rolling", [("Gadibo frulo machi tu.",)])
    )
    with torch.no_grad():
        loss = model.loss(tokens[:, :-1], tokens[:, 1:], reduction="none").sum()
    assert -found == pytest.approx(float(loss), rel=1e-5)


def test_an_empty_document_costs_nothing(tokenizer: Tokenizer) -> None:
    assert lm_of(random_model(), tokenizer).loglikelihood_rolling(requests("loglikelihood_rolling", [("",)])) == [0]


def test_long_contexts_lose_their_beginning_and_are_counted(tokenizer: Tokenizer, windows: list[Window]) -> None:
    model = random_model()
    lm = lm_of(model, tokenizer)
    text = str(documents("prose", 1, 30)[0]["text"])
    (long,) = lm.loglikelihood(requests("loglikelihood", [(text[:600], " gadibo")]))
    assert lm.truncated == 1
    joint = tokenizer.encode(text[:600] + " gadibo")
    assert list(windows[0].tokens) == joint[-model.max_seq_len - 1 : -1]
    lm.loglikelihood(requests("loglikelihood", [("tu", " gadibo")]))
    assert lm.truncated == 1
    assert long[0] < 0


def test_a_continuation_longer_than_the_model_is_scored_token_by_token(
    tokenizer: Tokenizer, windows: list[Window]
) -> None:
    model = random_model()
    lm = lm_of(model, tokenizer)
    text = str(documents("prose", 1, 30)[0]["text"])[:500]
    (found,) = lm.loglikelihood(requests("loglikelihood", [("Gadibo:", text)]))
    context = tokenizer.encode("Gadibo:")
    continuation = tokenizer.encode("Gadibo:" + text)[len(context) :]
    assert len(continuation) > model.max_seq_len
    assert [token for window in windows for token in window.targets] == continuation
    assert windows[0].tokens[0] == context[-1]
    assert lm.truncated == 1
    assert math.isfinite(found[0])


def greedy_text(model: Llama, tokenizer: Tokenizer, context: str, count: int) -> str:
    tokens = tokenizer.encode(context)
    new: list[int] = []
    with torch.no_grad():
        for _ in range(count):
            new.append(int(model(torch.tensor([tokens + new]))[0, -1].argmax()))
    return decoded(tokenizer, tokens[-1], new)


def test_generation_is_greedy_and_stops_before_its_stop_string(tokenizer: Tokenizer) -> None:
    model = random_model()
    lm = lm_of(model, tokenizer, 300)
    contexts = ["Gadibo frulo", "tu", "machi tu gadibo frulo stume"]
    free = [greedy_text(model, tokenizer, context, 20) for context in contexts]
    asked = [(context, {"until": [], "max_gen_toks": 20}) for context in contexts]
    assert lm.generate_until(requests("generate_until", list(asked))) == free

    stop = free[0][len(free[0]) // 2 :][:3]
    wanted = {"until": ["\x00", stop], "max_gen_toks": 20}
    (cut,) = lm.generate_until(requests("generate_until", [(contexts[0], wanted)]))
    assert cut == free[0][: free[0].index(stop)]


def test_generation_ends_at_eos(tokenizer: Tokenizer) -> None:
    stop = StopStrings(tokenizer, before=tokenizer.bos_id, until=[])
    word = tokenizer.encode("gadibo", bos=False)
    assert stop.reached([*word, tokenizer.eos_id])
    assert not stop.reached(word)
    assert stop.text([*word, tokenizer.eos_id, *word]) == "gadibo"


def test_generated_text_keeps_the_space_before_its_first_word(tokenizer: Tokenizer) -> None:
    before = tokenizer.encode("tu")[-1]
    assert decoded(tokenizer, before, tokenizer.encode("gadibo", bos=False)) == " gadibo"


def test_sampled_repeats_differ_and_every_run_gives_them_again(tokenizer: Tokenizer) -> None:
    wanted = {"until": [], "max_gen_toks": 15, "do_sample": True, "temperature": 1.0}
    asked = requests("generate_until", [("Gadibo", wanted)] * 4)
    model = random_model()
    first = lm_of(model, tokenizer, 1).generate_until(asked)
    assert len(set(first)) == 4
    assert lm_of(model, tokenizer, 1000).generate_until(asked) == first


def test_a_generation_that_cannot_fit_is_cut_short_and_counted(tokenizer: Tokenizer) -> None:
    model = random_model()
    lm = lm_of(model, tokenizer)
    asked = requests("generate_until", [("Gadibo", {"until": [], "max_gen_toks": room}) for room in (10, 500)])
    short, long = lm.generate_until(asked)
    assert long.startswith(short)
    assert greedy_text(model, tokenizer, "Gadibo", 48 - len(tokenizer.encode("Gadibo"))).startswith(long)
    assert (lm.truncated, lm.shortened) == (0, 1)


def test_a_long_prompt_loses_its_beginning(tokenizer: Tokenizer) -> None:
    model = random_model()
    lm = lm_of(model, tokenizer)
    text = str(documents("prose", 1, 30)[0]["text"])[:400]
    (found,) = lm.generate_until(requests("generate_until", [(text, {"until": [], "max_gen_toks": 10})]))
    kept = tokenizer.encode(text)[-38:]
    with torch.no_grad():
        first = int(model(torch.tensor([kept]))[0, -1].argmax())
    assert found.startswith(decoded(tokenizer, kept[-1], [first])[:1])
    assert lm.truncated == 1
