"""The memory formula: its sums, what sharding takes off, and activations against what autograd really keeps."""

import dataclasses

import hydra.utils
import pytest
import torch
from hydra import compose, initialize_config_dir

from llamalab.analysis.memory import Precision, Shapes, Sharding, memory, shapes_of
from llamalab.common.configs import repository_folder
from llamalab.common.hydra_app import register_resolvers

FP32 = Precision("fp32", 4, 4, 4, 4)
MIXED = Precision("bf16", 4, 4, 4, 2)
NONE, GRAD_OP, FULL = Sharding(False, None), Sharding(True, None), Sharding(True, 2)
SHAPES = Shapes(
    parameters=10_000_000,
    block_parameters=1_000_000,
    block_matrices=999_000,
    n_layers=8,
    dim=256,
    vocab_size=4096,
    chunk_tokens=1024,
)


def model(*overrides: str) -> torch.nn.Module:
    register_resolvers()
    with initialize_config_dir(str(repository_folder("conf")), version_base="1.3"):
        return hydra.utils.instantiate(compose("plan", overrides=list(overrides)).model)


def test_states_of_adamw_are_sixteen_bytes_a_parameter():
    for precision in (FP32, MIXED):
        found = memory(SHAPES, precision, NONE, 1, 1)
        assert found.weights + found.gradients + found.optimizer == 16 * SHAPES.parameters


@pytest.mark.parametrize("sharding", [GRAD_OP, FULL])
def test_states_are_shared_out(sharding):
    whole, share = (memory(SHAPES, MIXED, sharding, devices, 2048) for devices in (1, 8))
    for part in ("weights", "gradients", "optimizer"):
        assert getattr(share, part) == getattr(whole, part) / 8
    assert share.activations == whole.activations


def test_gathered_weights():
    assert memory(SHAPES, FP32, NONE, 4, 1).gathered == 0  # computed with as they are
    assert memory(SHAPES, MIXED, NONE, 4, 1).gathered == 2 * SHAPES.parameters  # autocast's copies
    block = 2 * SHAPES.block_parameters
    assert memory(SHAPES, MIXED, GRAD_OP, 4, 1).gathered == 2 * SHAPES.parameters + block
    assert memory(SHAPES, MIXED, FULL, 4, 1).gathered == 2 * block + block


def test_checkpointing_keeps_a_block_input_a_block():
    one, two = (memory(dataclasses.replace(SHAPES, n_layers=n), MIXED, FULL, 1, 100) for n in (8, 9))
    assert two.activations_checkpointed - one.activations_checkpointed == 100 * SHAPES.dim * 2
    assert one.total - one.total_checkpointed == one.activations - one.activations_checkpointed


def test_llama_keeps_sixteen_widths_a_token_and_block():
    """8 d of attention and norms and 3 x 8/3 d of the gated feed-forward, Korthikanti et al. 2022 without dropout."""
    with torch.device("meta"):
        shapes = shapes_of(model("scale=7b"))
    found = memory(shapes, MIXED, FULL, 2048, 2048)
    assert found.activations / (2 * 2048 * 32 * 4096) == pytest.approx(16, rel=0.01)


@pytest.mark.parametrize("overrides", [[], ["feed_forward=gelu", "norm=layernorm"], ["attention=grouped_query"]])
def test_activations_are_what_autograd_keeps(overrides):
    """Eager mode keeps all that the formula counts, and up to a third more (docs/plan.md)."""
    torch.manual_seed(0)
    batch, network = 2, model("scale=micro", *overrides)
    weights = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network.hidden(torch.randint(0, network.vocab_size, (batch, 256)))
    measured = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    formula = memory(shapes_of(network), FP32, NONE, 1, batch * 256).activations
    assert 1.0 <= measured / formula <= 1.35
