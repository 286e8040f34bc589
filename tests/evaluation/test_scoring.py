"""Scores against a plain full forward pass in float64, whatever the batches; logits only where they are needed."""

import random

import pytest
import torch
from evaluation_builders import VOCABULARY, random_model
from torch.utils.flop_counter import FlopCounterMode

from llamalab.evaluation import packed, scoring
from llamalab.evaluation.scoring import Score, Window, score
from llamalab.model import Llama

CPU = torch.device("cpu")


def windows_of_all_lengths(count: int) -> list[Window]:
    generator = random.Random(0)
    made = []
    for _ in range(count):
        length = generator.randint(1, 48)
        tokens = [generator.randrange(VOCABULARY) for _ in range(length)]
        made.append(Window(tokens, [generator.randrange(VOCABULARY) for _ in range(generator.randint(1, length))]))
    return made


def scores_of(model: Llama, windows: list[Window], batch_tokens: int) -> list[Score]:
    """In the order of the windows, each of which must be scored once."""
    found = list(score(model, windows, batch_tokens, CPU))
    assert sorted(index for index, _ in found) == list(range(len(windows)))
    return [of_window for _, of_window in sorted(found, key=lambda pair: pair[0])]


def reference(model: Llama, window: Window) -> tuple[float, bool]:
    """log_softmax over the whole sequence in float64, one window at a time."""
    logits = model(torch.tensor([list(window.tokens)])).double()[0, -len(window.targets) :]
    targets = torch.tensor(list(window.targets))
    chosen = logits.log_softmax(-1).gather(-1, targets[:, None])
    return float(chosen.sum()), bool((logits.argmax(-1) == targets).all())


@pytest.mark.parametrize("position", ["rope", "learned", "none"])
def test_scores_equal_a_full_forward_pass(position: str) -> None:
    model = random_model(f"position={position}")
    windows = windows_of_all_lengths(40)
    with torch.no_grad():
        # half of the windows ask for what the model would say itself, so that `greedy` is true for some
        for index in range(0, len(windows), 2):
            tokens = list(windows[index].tokens)
            best = model(torch.tensor([tokens])).argmax(-1)[0].tolist()
            windows[index] = Window(tokens, best[-len(windows[index].targets) :])
        expected = [reference(model.double(), window) for window in windows]
    found = scores_of(model.float(), windows, 400)
    for ours, (log_likelihood, greedy) in zip(found, expected, strict=True):
        assert ours.log_likelihood == pytest.approx(log_likelihood, abs=1e-4, rel=1e-6)
        assert ours.greedy == greedy
    assert sum(ours.greedy for ours in found) >= 20


def test_scores_do_not_depend_on_the_batch() -> None:
    model = random_model()
    windows = windows_of_all_lengths(50)
    alone = scores_of(model, windows, 1)
    for batch_tokens in (16 * 48, 10_000):
        together = scores_of(model, windows, batch_tokens)
        for one, other in zip(alone, together, strict=True):
            assert one.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-4)
            assert one.greedy == other.greedy


def test_the_output_head_sees_only_scored_positions() -> None:
    model = random_model()

    def flops(targets: int) -> int:
        with FlopCounterMode(display=False) as counter:
            scores_of(model, [Window([1] * 40, [2] * targets)], 1000)
        return counter.get_total_flops()

    assert flops(40) - flops(3) == 2 * 37 * model.dim * VOCABULARY


def test_head_in_pieces_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model()
    windows = windows_of_all_lengths(10)
    whole = scores_of(model, windows, 1000)
    monkeypatch.setattr(scoring, "LOGITS_AT_ONCE", 3 * VOCABULARY)
    for one, other in zip(whole, scores_of(model, windows, 1000), strict=True):
        assert one.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-5)


KINDS = {
    "rope": [],
    "alibi": ["position=alibi"],
    "t5": ["position=t5"],
    "learned": ["position=learned"],
    "sinusoidal": ["position=sinusoidal"],
    "none": ["position=none"],
    "grouped": ["scale.n_kv_heads=2"],
    "window": ["attention=sliding_window", "attention.window=7"],
    "all": ["attention=sliding_window", "attention.window=7", "position=alibi", "scale.n_kv_heads=2"],
}


def questions() -> list[Window]:
    """Four choices each, half of them behind the same examples, some a single token long."""
    generator = random.Random(3)

    def tokens(count: int) -> list[int]:
        return [generator.randrange(VOCABULARY) for _ in range(count)]

    shots, made = tokens(20), []
    for number in range(12):
        context = (shots if number % 2 else []) + tokens(generator.randint(2, 9))
        for length in (1, 1, 3, 7):
            joint = context + tokens(length)
            made.append(Window(joint[:-1], joint[len(context) :]))
    return [*made, Window(tokens(48), tokens(48))]


@pytest.mark.parametrize("kind", KINDS)
def test_sharing_changes_no_score(kind: str) -> None:
    model = random_model(*KINDS[kind])
    windows = questions()
    with torch.no_grad():
        expected = [reference(model.double(), window)[0] for window in windows]
    model.float()
    # 16: examples are kept, rows hold one sequence; 1500: one row per question, nothing kept
    for batch_tokens in (16, 300, 4000):
        found = [ours.log_likelihood for ours in scores_of(model, windows, batch_tokens)]
        assert found == pytest.approx(expected, abs=1e-4), batch_tokens


def test_shared_tokens_go_through_the_model_once() -> None:
    model = random_model()
    shots, choices = list(range(40)), range(100, 104)
    documents = [[*shots, 200 + i, 300 + i] for i in range(6)]
    windows = [Window(document, [choice]) for document in documents for choice in choices]
    seen: list[int] = []
    model.layers[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[1]))
    scores_of(model, windows, 20)
    assert seen == [40, 12]
    seen.clear()
    scores_of(model, windows[:8], 100)
    assert sum(seen) == 40 + 2 * 2


def test_attention_in_steps_is_that_of_the_kernel() -> None:
    """Devices other than CPUs take the steps."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 3, 5, 8, generator=generator) for _ in range(3))
    mask = packed.causal_mask(5, CPU).expand(2, 1, 5, 5).clone()
    mask[1, :, 3, :2] = packed.UNSEEN
    for added, causal in ((None, False), (None, True), (mask, False)):
        expected = packed.flash_on_cpu(q, k, v, added, causal)
        torch.testing.assert_close(packed.in_steps(q, k, v, added, causal), expected, atol=1e-5, rtol=1e-5)
