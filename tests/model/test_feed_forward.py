"""Feed-forward widths: the paper's, and the ones solved for matched parameters."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from model_builders import choices, compose_model
from torch import Tensor, nn

from llamalab.model import feed_forward
from llamalab.model.feed_forward import SwiGLU, matched_width, reference_width


@pytest.mark.parametrize(("dim", "width"), [(4096, 11008), (5120, 13824), (6656, 17920), (8192, 22016)])
def test_swiglu_has_the_papers_widths(dim: int, width: int) -> None:
    assert reference_width(dim, 256) == width
    assert matched_width(3 * dim * width, 3 * dim, 256) == width


@settings(max_examples=200, deadline=None)
@given(
    dim=st.integers(4, 1024).map(lambda n: 16 * n),
    multiple_of=st.sampled_from([8, 16, 64, 256]),
    saved=st.floats(0, 0.5),
    per_unit=st.sampled_from([2, 3]),
)
def test_a_solved_width_is_within_the_tolerance_whatever_the_sizes(
    dim: int, multiple_of: int, saved: float, per_unit: int
) -> None:
    budget = 3 * dim * reference_width(dim, multiple_of) + int(saved * 4 * dim**2)
    width = matched_width(budget, per_unit * dim, multiple_of)
    assert abs(per_unit * dim * width - budget) <= max(0.001 * budget, per_unit * dim / 2)


def test_a_width_in_the_config_wins() -> None:
    assert SwiGLU(dim=16, parameters=1000, multiple_of=8, std=0.02, residual_std=0.01, width=30, bias=False).width == 30


def sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-x))


def normal_cdf(x: Tensor) -> Tensor:
    return (1 + torch.erf(x / math.sqrt(2))) / 2


# a(x), written out; and whether it is the gate of a second projection
FORMULAS: dict[type[nn.Module], tuple[Callable[[Tensor], Tensor], bool]] = {
    feed_forward.SwiGLU: (lambda x: x * sigmoid(x), True),
    feed_forward.GEGLU: (lambda x: x * normal_cdf(x), True),
    feed_forward.ReGLU: (lambda x: x * (x > 0), True),
    feed_forward.GLU: (sigmoid, True),
    feed_forward.Bilinear: (lambda x: x, True),
    feed_forward.GELU: (lambda x: x * normal_cdf(x), False),
    feed_forward.ReLU: (lambda x: x * (x > 0), False),
    feed_forward.SiLU: (lambda x: x * sigmoid(x), False),
}


def test_every_choice_has_a_formula_here() -> None:
    files = choices("feed_forward")
    targets = {compose_model(f"feed_forward={choice}").model.feed_forward._target_ for choice in files}
    assert targets == {f"{kind.__module__}.{kind.__qualname__}" for kind in FORMULAS}


@pytest.mark.parametrize("kind", FORMULAS)
def test_output_and_gradients_equal_the_formula_in_float64(kind: type[nn.Module]) -> None:
    sizes = {"dim": 16, "parameters": 3 * 16 * 40, "multiple_of": 8, "std": 0.3, "residual_std": 0.3, "width": None}
    activation, gated = FORMULAS[kind]
    module = kind(**sizes, **({"bias": False} if gated else {})).double()
    x = torch.randn(3, 16, dtype=torch.float64)
    weights = dict(module.named_parameters())
    assert list(weights) == ["w1.weight", "w2.weight"] + ["w3.weight"] * gated  # the names in checkpoints
    assert module.width == (40 if gated else 60)

    first, second = weights["w1.weight"], weights["w2.weight"]
    inner = activation(x @ first.T)
    expected = (inner * (x @ weights["w3.weight"].T) if gated else inner) @ second.T
    torch.testing.assert_close(module(x), expected, rtol=1e-12, atol=1e-12)
    upstream = torch.randn_like(expected)
    ours = torch.autograd.grad(module(x), list(weights.values()), upstream)
    theirs = torch.autograd.grad(expected, list(weights.values()), upstream)
    for mine, other in zip(ours, theirs, strict=True):
        assert other.abs().max() > 1e-3
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-12)
