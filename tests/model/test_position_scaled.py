"""Stretched rotary embeddings: transformers' frequencies, the papers' formulas, and that factor 1 changes nothing."""

import math

import pytest
import torch
from model_builders import TINY, build_model
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from llamalab.model.position import RotaryPosition
from llamalab.model.position_scaled import (
    DynamicNTKRotaryPosition,
    InterpolatedRotaryPosition,
    Llama3RotaryPosition,
    NTKRotaryPosition,
    YarnRotaryPosition,
)

CPU = torch.device("cpu")
THETA = 10_000.0
YARN = {
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "original_seq_len": None,
    "attention_factor": None,
    "mscale": None,
    "mscale_all_dim": None,
    "truncate": True,
}
STRETCHED = ["rope_pi", "rope_ntk", "rope_yarn", "rope_llama3"]


def sizes(head_dim: int, length: int = 2048) -> dict[str, float]:
    return {"dim": 4 * head_dim, "n_heads": 4, "head_dim": head_dim, "max_seq_len": length, "std": 0.02, "theta": THETA}


def transformers_frequencies(
    kind: str, head_dim: int, length: int, factor: float, seq_len: int | None = None, **more: object
) -> tuple[torch.Tensor, float]:
    parameters = {"rope_type": kind, "rope_theta": THETA, "factor": factor, "original_max_position_embeddings": length}
    parameters |= more
    config = LlamaConfig(
        hidden_size=4 * head_dim,
        num_attention_heads=4,
        max_position_embeddings=length if kind == "dynamic" else int(length * factor),
        rope_parameters=parameters,
    )
    return ROPE_INIT_FUNCTIONS[kind](config, CPU, seq_len)


SHAPES = pytest.mark.parametrize(("head_dim", "length"), [(128, 2048), (64, 1024), (32, 256), (12, 64), (16, 32)])
FACTORS = pytest.mark.parametrize("factor", [1.0, 2.0, 4.5, 32.0])


@SHAPES
@FACTORS
def test_interpolation_equals_transformers_linear_scaling(head_dim: int, length: int, factor: float) -> None:
    ours = InterpolatedRotaryPosition(**sizes(head_dim, length), factor=factor).frequencies(CPU)
    theirs, _ = transformers_frequencies("linear", head_dim, length, factor)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)


def test_interpolation_looks_at_the_position_divided_by_the_factor() -> None:
    plain = RotaryPosition(**sizes(16))
    stretched = InterpolatedRotaryPosition(**sizes(16), factor=4.0)
    for ours, theirs in zip(stretched.tables(torch.arange(0, 400, 4)), plain.tables(torch.arange(100)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("head_dim", [128, 32, 4])
@FACTORS
def test_ntk_equals_its_formula_in_float64(head_dim: int, factor: float) -> None:
    ours = NTKRotaryPosition(**sizes(head_dim), factor=factor).frequencies(CPU)
    base = THETA * factor ** (head_dim / (head_dim - 2))
    expected = torch.tensor([base ** (-2 * i / head_dim) for i in range(head_dim // 2)], dtype=torch.float64)
    torch.testing.assert_close(ours.double(), expected, rtol=1e-5, atol=0)
    # which is made so that the fastest pair stays and the slowest is interpolated by the whole factor
    assert ours[0] == 1
    slowest = THETA ** (-(head_dim - 2) / head_dim) / factor
    assert ours[-1].item() == pytest.approx(slowest, rel=1e-5)


@SHAPES
@FACTORS
def test_yarn_equals_transformers(head_dim: int, length: int, factor: float) -> None:
    encoding = YarnRotaryPosition(**sizes(head_dim, length), factor=factor, **YARN)
    theirs, lengthening = transformers_frequencies("yarn", head_dim, length, factor)
    torch.testing.assert_close(encoding.frequencies(CPU), theirs, rtol=2e-6, atol=0)
    cosine, sine = encoding.tables(torch.arange(5))
    torch.testing.assert_close(cosine, lengthening * torch.outer(torch.arange(5.0), theirs).cos(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(sine, lengthening * torch.outer(torch.arange(5.0), theirs).sin(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "more",
    [
        {"attention_factor": 1.3},
        {"mscale": 0.7, "mscale_all_dim": 1.4},
        {"mscale": 0.7},
        {"truncate": False},
        {"beta_fast": 8.0, "beta_slow": 2.0},
        {"beta_fast": 500.0, "beta_slow": 400.0},  # a ramp that starts and ends before the first pair
    ],
)
def test_yarns_variants_equal_transformers(more: dict[str, float]) -> None:
    encoding = YarnRotaryPosition(**sizes(32, 256), factor=4.0, **{**YARN, **more})
    theirs, factor = transformers_frequencies("yarn", 32, 256, 4.0, **more)
    torch.testing.assert_close(encoding.frequencies(CPU), theirs, rtol=2e-6, atol=0)
    assert encoding.attention_factor == pytest.approx(factor)


@SHAPES
@FACTORS
def test_llama3_equals_transformers(head_dim: int, length: int, factor: float) -> None:
    factors = {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
    encoding = Llama3RotaryPosition(**sizes(head_dim, length), factor=factor, **factors, original_seq_len=None)
    theirs, _ = transformers_frequencies("llama3", head_dim, length, factor, **factors)
    torch.testing.assert_close(encoding.frequencies(CPU), theirs, rtol=2e-6, atol=0)


@SHAPES
@FACTORS
def test_dynamic_equals_transformers_at_every_length(head_dim: int, length: int, factor: float) -> None:
    encoding = DynamicNTKRotaryPosition(**sizes(head_dim, length), factor=factor)
    for seq_len in (1, length, length + 1, 3 * length):
        theirs, _ = transformers_frequencies("dynamic", head_dim, length, factor, seq_len)
        cosine, sine = encoding.tables(torch.arange(seq_len)[-1:])
        angles = (seq_len - 1) * theirs
        near = {"rtol": 0, "atol": 2e-6 * seq_len}
        torch.testing.assert_close(cosine[0], angles.cos(), **near)
        torch.testing.assert_close(sine[0], angles.sin(), **near)


def test_dynamic_is_rope_within_the_training_length_and_acts_beyond_it() -> None:
    plain = build_model(*TINY, "model.initialisation.std=0.2")
    dynamic = build_model(*TINY, "position=rope_dynamic", "model.initialisation.std=0.2")
    tokens = torch.randint(0, 97, (1, 40))
    assert torch.equal(plain(tokens[:, :32]), dynamic(tokens[:, :32]))
    assert not torch.allclose(plain(tokens), dynamic(tokens), atol=1e-3)


def test_yarn_keeps_fast_pairs_interpolates_slow_ones_and_sharpens_attention() -> None:
    encoding = YarnRotaryPosition(**sizes(128), factor=16.0, **YARN)
    own = [THETA ** (-2 * i / 128) for i in range(64)]
    for frequency, before in zip(encoding.frequencies(CPU).tolist(), own, strict=True):
        turns = 2048 * before / (2 * math.pi)
        if turns >= 32 * 1.16:  # one pair's ratio beyond the ends, which are rounded to whole pairs
            assert frequency == pytest.approx(before, rel=1e-5)
        elif turns <= 1 / 1.16:
            assert frequency == pytest.approx(before / 16, rel=1e-5)
        else:
            assert before / 16 <= frequency * 1.00001 <= before * 1.0001
    q, k = torch.randn(2, 1, 1, 1, 128)
    tables = encoding.tables(torch.tensor([3]))
    scores = (encoding.rotate(q, tables) * encoding.rotate(k, tables)).sum()
    torch.testing.assert_close(scores, (q * k).sum() * (0.1 * math.log(16) + 1) ** 2, rtol=1e-4, atol=1e-4)


def test_yarn_can_be_told_the_length_of_training() -> None:
    finetuned = YarnRotaryPosition(**sizes(64, 8192), factor=4.0, **{**YARN, "original_seq_len": 2048})
    as_trained = YarnRotaryPosition(**sizes(64, 2048), factor=4.0, **YARN)
    assert torch.equal(finetuned.frequencies(CPU), as_trained.frequencies(CPU))


@pytest.mark.parametrize("position", STRETCHED)
def test_factor_one_is_rope_bit_for_bit(position: str) -> None:
    plain = build_model(*TINY, "model.initialisation.std=0.2")
    same = build_model(*TINY, f"position={position}", "position.factor=1.0", "model.initialisation.std=0.2")
    tokens = torch.randint(0, 97, (2, 32))
    assert torch.equal(plain(tokens), same(tokens))


@pytest.mark.parametrize("position", STRETCHED)
def test_weights_trained_with_rope_load_and_the_factor_acts(position: str) -> None:
    plain = build_model(*TINY, "model.initialisation.std=0.2")
    stretched = build_model(*TINY, f"position={position}", seed=1)
    stretched.load_state_dict(plain.state_dict(), strict=True)
    tokens = torch.randint(0, 97, (1, 32))
    assert not torch.allclose(plain(tokens)[:, -1], stretched(tokens)[:, -1], atol=1e-3)


def test_impossible_factors_and_betas_name_their_key() -> None:
    with pytest.raises(ValueError, match=r"factor: 0.5 would shrink the context"):
        InterpolatedRotaryPosition(**sizes(16), factor=0.5)
    with pytest.raises(ValueError, match=r"dim: heads of width 2 have no base"):
        NTKRotaryPosition(**sizes(2), factor=2.0)
    with pytest.raises(ValueError, match=r"beta_slow: 32.0 must be positive and below beta_fast 32.0"):
        YarnRotaryPosition(**sizes(16), factor=2.0, **{**YARN, "beta_slow": 32.0})
    with pytest.raises(ValueError, match=r"dim: heads of width 2 have no base"):
        DynamicNTKRotaryPosition(**sizes(2), factor=2.0)
    with pytest.raises(ValueError, match=r"high_freq_factor: 1.0 must be greater than low_freq_factor 4.0"):
        Llama3RotaryPosition(**sizes(16), factor=2.0, low_freq_factor=4.0, high_freq_factor=1.0, original_seq_len=None)
