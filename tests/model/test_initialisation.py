"""Initialisation: its spread, its seed, and the meta device."""

import math

import torch
from model_builders import TINY, build_model


def test_weights_have_the_declared_spread() -> None:
    model = build_model("scale=micro")
    block = model.layers[2]
    std = math.sqrt(2 / (5 * 256))
    residual = std / math.sqrt(2 * 6)
    expected = {
        model.tok_embeddings: std,
        model.output: std,
        block.attention.wq: std,
        block.attention.wk: std,
        block.attention.wv: std,
        block.attention.wo: residual,
        block.feed_forward.w1: std,
        block.feed_forward.w3: std,
        block.feed_forward.w2: residual,
    }
    for module, spread in expected.items():
        assert abs(module.weight.std().item() / spread - 1) < 0.03
        assert abs(module.weight.mean().item()) < 0.03 * spread
    assert torch.equal(block.attention_norm.weight, torch.ones(256))
    flat = build_model("scale=micro", "model.initialisation.scale_residual=false", "model.initialisation.std=0.02")
    assert abs(flat.layers[0].attention.wo.weight.std().item() / 0.02 - 1) < 0.03


def test_the_seed_alone_decides_the_weights() -> None:
    first, again, other = (build_model(*TINY, seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["layers.0.attention.wq.weight"], other["layers.0.attention.wq.weight"])


def test_every_module_with_parameters_can_draw_them_from_the_meta_device() -> None:
    for overrides in ([], ["norm=layernorm", "position=learned", "feed_forward=gelu"]):
        with torch.device("meta"):
            model = build_model(*TINY, *overrides)
        model.to_empty(device="cpu")
        for parameter in model.parameters():
            parameter.data.fill_(float("nan"))
        torch.manual_seed(0)
        for module in model.modules():
            if any(True for _ in module.parameters(recurse=False)):
                module.reset_parameters()
        expected = build_model(*TINY, *overrides)
        for name, parameter in model.named_parameters():
            reference = expected.get_parameter(name)
            assert torch.isfinite(parameter).all(), name
            assert abs(parameter.std() - reference.std()) < 0.1 * reference.std() + 1e-3, name
        tokens = torch.randint(0, 97, (1, 8))
        assert abs(model.loss(tokens, tokens).item() - math.log(97)) < 0.5
