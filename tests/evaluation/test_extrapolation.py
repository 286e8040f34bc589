"""Losses beyond the training length, against forward passes of whole windows done by hand."""

import math
from pathlib import Path
from typing import Any

import command_line
import hydra.utils
import pytest
import torch
import yaml
from corpus_builder import SAMPLING, TinyCorpus
from torch.nn.functional import cross_entropy

from llamalab.checkpoint import native
from llamalab.common.configs import resolved
from llamalab.data.token_shards import TokenShards
from llamalab.evaluation.extrapolation import Extrapolation, choose_text, stretch_losses
from llamalab.model import Llama
from llamalab.model.position_scaled import InterpolatedRotaryPosition, NTKRotaryPosition

L, MULTIPLES = 16, [1, 2, 8]
STRETCH = L * MULTIPLES[-1]
LAST = 20  # no multiple of half a window


def write_run(run_dir: Path, corpus: TinyCorpus, **changes: Any) -> Llama:
    """A run directory with a random model, whose weights are wide enough that context matters."""
    config = corpus.config(scale__seq_len=L, model__initialisation__std=0.3, **changes)
    torch.manual_seed(0)
    model: Llama = hydra.utils.instantiate(config.model).eval()
    run_dir.mkdir()
    (run_dir / "config.yaml").write_text(yaml.safe_dump(resolved(config)))
    native.save(native.step_directory(run_dir, 7), model.state_dict(), {}, {"step": 7})
    return model


def probe(tokens: int = 2 * STRETCH, last: int = LAST, **scalings: Any) -> Extrapolation:
    """On the CPU, two stretches a domain."""
    return Extrapolation(MULTIPLES, tokens, last, scalings, "cpu")


def rows_of(record: dict[str, Any], position: str = "own") -> dict[int, dict[str, Any]]:
    """Rows by multiple."""
    return {row["multiple"]: row for row in record["rows"] if row["position"] == position}


@torch.no_grad()
def loss_of(model: Llama, tokens: torch.Tensor) -> torch.Tensor:
    """Every target's loss in one plain forward pass over one window: T+1 tokens to T."""
    return cross_entropy(model(tokens[None, :-1])[0].double(), tokens[1:], reduction="none")


@pytest.mark.parametrize("position", ["rope", "none", "sinusoidal", "alibi", "t5"])
def test_losses_are_those_of_plain_forward_passes(tmp_path, tiny_corpus, position):
    model = write_run(tmp_path / "run", tiny_corpus, position=position)
    found = rows_of(probe()(tmp_path / "run"))
    for multiple in MULTIPLES:
        length, half = multiple * L, multiple * L // 2
        means: dict[str, dict[str, float]] = {"loss": {}, "last_loss": {}}
        for domain in SAMPLING:
            shards = TokenShards(tiny_corpus.tokens / domain / "validation", verify_hashes=True)
            there = (len(shards) - 1) // STRETCH
            losses, late = [], []
            for start in (0, there // 2 * STRETCH):
                text = torch.from_numpy(shards.read(start, start + STRETCH + 1))
                losses += [loss_of(model, text[i : i + length + 1]) for i in range(0, STRETCH, length)]
                for target in range(STRETCH - LAST, STRETCH):
                    # the window ends on the target or at most `step` after it
                    step = min(LAST, half)
                    end = STRETCH - (STRETCH - 1 - target) // step * step
                    assert target + 1 - (end - length) >= half
                    late.append(loss_of(model, text[end - length : target + 2])[-1:])
            means["loss"][domain] = torch.cat(losses).mean().item()
            means["last_loss"][domain] = torch.cat(late).mean().item()
        row = found[multiple]
        assert (row["length"], row["reason"]) == (length, None)
        assert (row["tokens"], row["last_tokens"]) == (3 * 2 * STRETCH, 3 * 2 * LAST)
        for key, by_domain in means.items():
            assert row[f"{key}_by_domain"] == pytest.approx(by_domain, rel=1e-5)
            assert row[key] == pytest.approx(sum(SAMPLING[d] / 100 * by_domain[d] for d in SAMPLING), rel=1e-5)


def test_a_model_that_sees_one_token_has_the_same_losses_at_every_length(tmp_path, tiny_corpus):
    """So the targets are the same ones."""
    model = write_run(tmp_path / "run", tiny_corpus, position="none")
    weights = {name: tensor * (not name.endswith("wo.weight")) for name, tensor in model.state_dict().items()}
    native.save(native.step_directory(tmp_path / "run", 8), weights, {}, {"step": 8})
    for key in ("loss", "last_loss"):
        losses = [row[key] for row in rows_of(probe()(tmp_path / "run")).values()]
        assert losses == pytest.approx([losses[0]] * len(MULTIPLES), rel=1e-6)


def test_a_scaling_is_the_model_configured_with_it_and_factor_1_is_the_model_itself(tmp_path, tiny_corpus):
    write_run(tmp_path / "rope", tiny_corpus, position="rope", position__theta=500.0)
    scalings = {"rope_pi": InterpolatedRotaryPosition, "rope_ntk": NTKRotaryPosition}
    record = probe(**scalings)(tmp_path / "rope")
    own = rows_of(record)
    for name in scalings:
        scaled = rows_of(record, name)
        assert scaled[1]["loss"] == own[1]["loss"]
        assert scaled[1]["last_loss"] == own[1]["last_loss"]
        for multiple in MULTIPLES[1:]:
            assert abs(scaled[multiple]["loss"] - own[multiple]["loss"]) > 1e-3
            folder = tmp_path / f"{name}{multiple}"
            write_run(folder, tiny_corpus, position=name, position__theta=500.0, position__factor=multiple)
            expected = rows_of(probe(**scalings)(folder))[multiple]
            for key in ("loss", "last_loss"):
                assert scaled[multiple][key] == pytest.approx(expected[key], rel=1e-6)


@pytest.mark.parametrize("position", ["none", "alibi", "rope_pi"])
def test_scalings_are_for_models_trained_with_plain_rope(tmp_path, tiny_corpus, position):
    write_run(tmp_path / "run", tiny_corpus, position=position)
    record = probe(rope_pi=InterpolatedRotaryPosition)(tmp_path / "run")
    assert {row["position"] for row in record["rows"]} == {"own"}


def test_beyond_a_table_of_positions_there_is_a_reason_and_no_loss(tmp_path, tiny_corpus):
    write_run(tmp_path / "run", tiny_corpus, position="learned")
    rows = rows_of(probe()(tmp_path / "run"))
    assert math.isfinite(rows[1]["loss"])
    for multiple in MULTIPLES[1:]:
        assert rows[multiple]["loss"] is rows[multiple]["last_loss"] is None
        assert "learned positions know 16 places" in rows[multiple]["reason"]


def test_twice_gives_the_same_numbers(tmp_path, tiny_corpus):
    write_run(tmp_path / "run", tiny_corpus)
    assert probe()(tmp_path / "run") == probe()(tmp_path / "run")


class Split:
    """Tokens that are their own places."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def read(self, start: int, stop: int) -> Any:
        return torch.arange(start, stop).numpy()


def test_a_split_too_short_for_the_longest_length_is_left_out_at_all_lengths():
    text = choose_text({"a": Split(700), "b": Split(64), "c": Split(65)}, {"a": 0.5, "b": 0.3, "c": 0.2}, [16, 64], 128)
    assert text.length == 64
    assert text.shares == pytest.approx({"a": 5 / 7, "c": 2 / 7})
    assert text.left_out == {"b": "its validation split has 64 tokens"}
    assert text.stretches["a"][:, 0].tolist() == [0, 5 * 64]  # of ten: the first and the sixth
    assert text.stretches["c"][:, 0].tolist() == [0]


def test_a_length_that_no_split_can_fill_has_a_reason(tmp_path, tiny_corpus):
    write_run(tmp_path / "run", tiny_corpus)
    record = Extrapolation([1, 4, 4096], L, LAST, {}, "cpu")(tmp_path / "run")
    rows = rows_of(record)
    assert record["last"] == LAST
    assert rows[4]["tokens"] == 3 * 4 * L
    assert rows[4096] == rows[4096] | {"loss": None, "last_loss": None, "tokens": 0, "last_tokens": 0}
    assert rows[4096]["reason"] == f"no validation split has {4096 * L + 1} tokens"


def test_half_a_stretch_is_the_most_that_is_late(tmp_path, tiny_corpus):
    model = write_run(tmp_path / "run", tiny_corpus)
    stretch = torch.arange(STRETCH + 1)
    for length in (L, STRETCH):
        losses, late = stretch_losses(model, stretch, length, STRETCH // 2)
        assert (losses.shape, late.shape) == ((STRETCH,), (STRETCH // 2,))
    assert torch.equal(late, losses[STRETCH // 2 :])
    assert probe(last=10**6)(tmp_path / "run")["last"] == STRETCH // 2


def test_multiples_must_divide_each_other():
    with pytest.raises(ValueError, match="multiples: 3 is no multiple of 2"):
        Extrapolation([1, 2, 3], 100, 10, {}, "cpu")


def test_the_study_measures_each_finished_run(tmp_path, tiny_corpus, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one_arm = [f"~study.arms.{arm}" for arm in ("learned", "sinusoidal", "alibi", "t5", "none")]
    seeds = ["study.seeds=[0,1]", "study.baseline_seeds=[0,1]", "study.learning_rate=null"]
    declared = ["study.family=[]", "~study.expected", "hydra/launcher=basic"]
    tiny = tiny_corpus.overrides(runs_dir=tmp_path, scale__tokens=10 * 256, scale__seq_len=L)
    outcome = command_line.run_here("train", "-m", "experiments=extrapolation", *tiny, *one_arm, *seeds, *declared)
    assert outcome.code == 0, outcome.stderr
    for seed in (0, 1):
        record = yaml.safe_load((tmp_path / f"extrapolation/tiny/rope/seed={seed}/extrapolation.json").read_text())
        assert {row["position"] for row in record["rows"]} == {"own", "rope_pi", "rope_ntk", "rope_yarn"}
        assert {row["length"] for row in record["rows"]} == {L, 2 * L, 4 * L, 8 * L, 16 * L}
        assert all(math.isfinite(row["loss"]) for row in record["rows"])
