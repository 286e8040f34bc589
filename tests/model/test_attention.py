"""The attention axis: shared key-value heads, and how far a window lets tokens see."""

import pytest
import torch
from hydra.errors import InstantiationException
from model_builders import TINY, build_model
from torch import Tensor

WIDE = (*TINY, "model.initialisation.std=0.2")


def windowed(window: int, *overrides: str) -> torch.nn.Module:
    return build_model(*WIDE, "attention=sliding_window", f"attention.window={window}", *overrides).eval()


@pytest.mark.parametrize("n_heads", [1, 2, 4])
def test_multi_query_has_one_key_value_head_whatever_the_head_count(n_heads: int) -> None:
    attention = build_model(*TINY, "attention=multi_query", f"scale.n_heads={n_heads}").layers[0].attention
    assert attention.n_kv_heads == 1
    assert attention.wk.weight.shape == attention.wv.weight.shape == (48 // n_heads, 48)


def test_multi_query_is_multi_head_with_the_same_keys_and_values_in_every_head() -> None:
    shared = build_model(*WIDE, "attention=multi_query")
    width = shared.layers[0].feed_forward.width
    separate = build_model(*WIDE, f"feed_forward.width={width}")
    copies = {
        name: weight.repeat(4, 1) if name.endswith(("wk.weight", "wv.weight")) else weight
        for name, weight in shared.state_dict().items()
    }
    separate.load_state_dict(copies)
    tokens = torch.randint(0, 97, (2, 16))
    torch.testing.assert_close(shared(tokens), separate(tokens), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("window", [16, 17, 1000])
def test_a_window_as_long_as_the_sequence_is_full_attention(window: int) -> None:
    tokens = torch.randint(0, 97, (2, 16))
    assert torch.equal(windowed(window)(tokens), build_model(*WIDE)(tokens))


@pytest.mark.parametrize("position", ["rope", "alibi"])
@pytest.mark.parametrize("kernel", ["sdpa", "blocked", "flex"])
def test_information_travels_window_minus_one_tokens_a_layer_and_no_farther(kernel: str, position: str) -> None:
    model = windowed(4, f"attention/kernel={kernel}", f"position={position}")
    tokens = torch.randint(0, 97, (1, 24))
    changed = tokens.clone()
    changed[0, 5] = (changed[0, 5] + 1) % 97
    with torch.no_grad():
        moved = (model(tokens) - model(changed)).abs().amax(-1)[0]
    reach = 5 + 3 * (4 - 1)  # three layers
    assert (moved[:5] == 0).all()
    assert (moved[5 : reach + 1] > 0).all()
    assert (moved[reach + 1 :] == 0).all()


def test_a_window_of_one_is_a_model_without_attention_to_others() -> None:
    model = windowed(1)
    tokens = torch.randint(0, 97, (1, 12))

    def alone(place: int) -> Tensor:
        return model(tokens[:, place : place + 1])[0, 0]

    torch.testing.assert_close(model(tokens)[0], torch.stack([alone(place) for place in range(12)]))


def test_flops_count_the_keys_in_the_window_only() -> None:
    for length, window in ((32, 5), (32, 32), (5, 32)):
        seen = sum(min(place + 1, window) for place in range(length))
        full = build_model(*TINY).flops_per_token(length) - 6 * 3 * 48 * (length + 1)
        assert windowed(window).flops_per_token(length) == full + 12 * 3 * 48 * seen // length


def test_an_empty_window_is_refused() -> None:
    with pytest.raises(InstantiationException) as caught:
        windowed(0)
    assert str(caught.value.__cause__).startswith("window: a query sees at least its own key, not 0")
