"""Norms against their formulas in float64, and where each placement puts them."""

import pytest
import torch
from model_builders import TINY, build_model
from torch import Tensor, nn

from llamalab.model.norm import LayerNorm, NoNorm, RMSNorm
from llamalab.model.norm_placement import PostNorm, PreNorm, ReorderedNorm


@pytest.fixture
def x() -> Tensor:
    return 3 * torch.randn(4, 5, 32) + 1


def test_rms_norm_equals_its_formula_in_float64(x: Tensor) -> None:
    norm = RMSNorm(32, eps=1e-6)
    norm.weight.data.normal_()
    wide = x.double()
    expected = wide / ((wide**2).mean(-1, keepdim=True) + 1e-6).sqrt() * norm.weight.double()
    torch.testing.assert_close(norm(x).double(), expected, rtol=1e-6, atol=1e-6)


def test_layer_norm_equals_its_formula_in_float64(x: Tensor) -> None:
    norm = LayerNorm(32, eps=1e-5)
    norm.weight.data.normal_()
    norm.bias.data.normal_()
    wide = x.double()
    centred = wide - wide.mean(-1, keepdim=True)
    expected = centred / ((centred**2).mean(-1, keepdim=True) + 1e-5).sqrt()
    expected = expected * norm.weight.double() + norm.bias.double()
    torch.testing.assert_close(norm(x).double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("norm", [RMSNorm(32, eps=1e-6), LayerNorm(32, eps=1e-6)])
def test_statistics_are_taken_in_float32_in_bfloat16_models(norm: RMSNorm | LayerNorm, x: Tensor) -> None:
    low = norm.to(torch.bfloat16)
    wide = x.to(torch.bfloat16).double()
    centred = wide - wide.mean(-1, keepdim=True) if isinstance(norm, LayerNorm) else wide
    expected = centred / (centred**2).mean(-1, keepdim=True).sqrt()
    y = low(x.to(torch.bfloat16))
    assert y.dtype == torch.bfloat16
    # one rounding to bfloat16 (relative 2^-9) and no more
    torch.testing.assert_close(y.double(), expected, rtol=2**-8, atol=1e-3)


def test_eps_keeps_a_zero_vector_finite() -> None:
    assert torch.equal(RMSNorm(8, eps=1e-6)(torch.zeros(1, 8)), torch.zeros(1, 8))


def test_pre_norm_normalises_the_input_and_adds_to_the_raw_stream(x: Tensor) -> None:
    y = PreNorm()(x, lambda z: 10 * z, lambda z: z + 1)
    torch.testing.assert_close(y, x + (10 * x + 1))


def test_post_norm_normalises_the_sum_and_needs_no_final_norm(x: Tensor) -> None:
    y = PostNorm()(x, lambda z: 10 * z, lambda z: z + 1)
    torch.testing.assert_close(y, 10 * (x + (x + 1)))
    assert isinstance(build_model(*TINY, "norm_placement=post").norm, nn.Identity)


def test_reordered_norm_normalises_only_what_is_added_and_keeps_the_final_norm(x: Tensor) -> None:
    y = ReorderedNorm()(x, lambda z: 10 * z, lambda z: z + 1)
    torch.testing.assert_close(y, x + 10 * (x + 1))
    assert isinstance(build_model(*TINY, "norm_placement=reordered").norm, RMSNorm)


@pytest.mark.parametrize("placement", [PreNorm(), PostNorm(), ReorderedNorm()])
def test_without_a_norm_all_placements_are_the_plain_residual_connection(placement: PreNorm, x: Tensor) -> None:
    norm = NoNorm(32)
    assert not list(norm.parameters())
    assert torch.equal(placement(x, norm, torch.tanh), x + torch.tanh(x))


def test_a_model_without_norms_is_one_without_norm_parameters() -> None:
    bare, normed = build_model(*TINY, "norm=none"), build_model(*TINY)
    missing = normed.state_dict().keys() - bare.state_dict().keys()
    assert len(missing) == 2 * 3 + 1
    assert all("norm" in name for name in missing)
    assert bare.state_dict().keys() <= normed.state_dict().keys()


def test_post_norms_stream_is_normed_after_every_block() -> None:
    model = build_model(*TINY, "norm_placement=post", "model.initialisation.std=0.2")
    hidden = model.hidden(torch.randint(0, 97, (2, 8)))
    torch.testing.assert_close(hidden.square().mean(-1), torch.ones(2, 8), rtol=1e-3, atol=1e-3)
