"""Which tensors decay, and that a step is the paper's AdamW."""

import math
import re

import pytest
import torch
from corpus_builder import compose_train
from hydra.utils import instantiate

MATRICES = re.compile(r"layers\.\d+\.(attention\.w[qkvo]|feed_forward\.w\d)\.weight|output\.weight")
SMALL = ("scale=smoke", "scale.vocab_size=64", "scale.dim=16", "scale.n_layers=2", "scale.n_heads=2")


def model_and_optimizer(*overrides):
    config = compose_train(*SMALL, *overrides)
    torch.manual_seed(0)
    model = instantiate(config.model)
    return model, instantiate(config.optimizer)(model)


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("norm=layernorm", "feed_forward=gelu", "position=learned"),
        ("position=none", "scale.tied_embeddings=true"),
        ("attention=grouped_query", "scale.n_heads=4", "scale.dim=32"),
    ],
    ids=lambda chosen: ",".join(chosen) or "default",
)
def test_exactly_the_matrices_decay(overrides):
    model, optimizer = model_and_optimizer(*overrides)
    names = {parameter: name for name, parameter in model.named_parameters()}
    decay = {names[p]: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert sorted(decay) == sorted(names.values())
    assert len(decay) == sum(len(group["params"]) for group in optimizer.param_groups)
    assert {name for name, value in decay.items() if value} == set(filter(MATRICES.fullmatch, names.values()))
    assert set(decay.values()) == {0.1, 0.0}


def test_a_step_without_gradient_only_decays_the_matrices():
    model, optimizer = model_and_optimizer("norm=layernorm", "position=learned", "optimizer.lr=0.003")
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in model.named_parameters():
        factor = 1 - 0.003 * 0.1 if MATRICES.fullmatch(name) else 1.0
        torch.testing.assert_close(parameter.detach(), before[name] * factor, rtol=1e-6, atol=0)
        assert torch.equal(parameter.detach(), before[name]) == (factor == 1.0)


def test_two_steps_against_the_formula_in_float64():
    """Loshchilov and Hutter 2019, algorithm 2, with the paper's betas 0.9 and 0.95 and weight decay 0.1."""
    model, optimizer = model_and_optimizer("optimizer.lr=0.01")
    matrix = model.get_parameter("layers.0.attention.wq.weight")
    gain = model.get_parameter("norm.weight")
    generator = torch.Generator().manual_seed(1)
    for parameter, decay in ((matrix, 0.1), (gain, 0.0)):
        expected, first, second = parameter.detach().double(), torch.zeros(()).double(), torch.zeros(()).double()
        for step in (1, 2):
            gradient = torch.randn(parameter.shape, generator=generator)
            for other in model.parameters():
                other.grad = None
            parameter.grad = gradient.clone()
            optimizer.step()
            g = gradient.double()
            first, second = 0.9 * first + 0.1 * g, 0.95 * second + 0.05 * g * g
            corrected, root = first / (1 - 0.9**step), (second / (1 - 0.95**step)).sqrt()
            expected = expected - 0.01 * decay * expected - 0.01 * corrected / (root + 1e-8)
        torch.testing.assert_close(parameter.detach().double(), expected, rtol=1e-5, atol=1e-7)
    assert math.isclose(optimizer.param_groups[0]["lr"], 0.01)
