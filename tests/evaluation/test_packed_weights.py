"""Packed weights change rounding alone, and only where a CPU gains from them."""

import copy

import pytest
import torch
from evaluation_builders import VOCABULARY, random_model
from torch import nn

from llamalab.evaluation.packed_weights import PackedLinear, pack
from llamalab.model.layers import Linear

CPU = torch.device("cpu")


@pytest.mark.parametrize("axes", [(), ("attention=grouped_query", "feed_forward=gelu"), ("attention.bias=true",)])
@pytest.mark.parametrize(("dtype", "apart"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
@torch.inference_mode()
def test_logits_are_the_same(axes: tuple[str, ...], dtype: torch.dtype, apart: float) -> None:
    model = random_model(*axes).to(dtype)
    for layer in model.modules():
        if isinstance(layer, nn.Linear) and layer.bias is not None:
            nn.init.normal_(layer.bias)
    packed = copy.deepcopy(model)
    pack(packed, CPU, dtype)
    for shape in ((1, 1), (3, 17)):
        tokens = torch.randint(VOCABULARY, shape)
        expected, found = model(tokens), packed(tokens)
        assert (found - expected).abs().max() <= apart * expected.abs().max()


def test_every_layer_of_the_blocks_is_packed_and_its_weight_let_go() -> None:
    model = random_model()
    count = sum(isinstance(layer, Linear) for layer in model.layers.modules())
    pack(model, CPU, torch.float32)
    assert sum(isinstance(layer, PackedLinear) for layer in model.layers.modules()) == count > 0
    assert not any(isinstance(layer, Linear) for layer in model.layers.modules())
    assert all(parameter.ndim == 1 for parameter in model.layers.parameters())
    assert model.head_weight().ndim == 2


@pytest.mark.parametrize(("device", "dtype"), [("cuda", torch.bfloat16), ("cpu", torch.float16)])
def test_others_stay_as_they_are(device: str, dtype: torch.dtype) -> None:
    model = random_model()
    pack(model, torch.device(device), dtype)
    assert not any(isinstance(layer, PackedLinear) for layer in model.modules())
