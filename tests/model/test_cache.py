"""Decoding with the key-value cache equals the full forward pass."""

import pytest
import torch
from model_builders import TINY, build_model, choices


@pytest.mark.parametrize("position", choices("position"))
@pytest.mark.parametrize("attention", choices("attention"))
def test_decoding_in_pieces_equals_one_forward_pass(position: str, attention: str) -> None:
    window = ["attention.window=6"] if attention == "sliding_window" else []
    overrides = (f"position={position}", f"attention={attention}", *window, "model.initialisation.std=0.2")
    model = build_model(*TINY, *overrides).eval()
    tokens = torch.randint(0, 97, (3, 20))
    with torch.no_grad():
        full = model(tokens)
        cache = model.new_cache(3, 20)
        pieces = [model(tokens[:, a:b], cache) for a, b in ((0, 7), (7, 8), (8, 9), (9, 15), (15, 20))]
    torch.testing.assert_close(torch.cat(pieces, dim=1), full, rtol=1e-4, atol=5e-5)
    assert cache.length == 20


def test_grouped_query_heads_make_the_cache_smaller() -> None:
    cache = build_model(*TINY, "attention=grouped_query").new_cache(2, 10)
    assert cache.layers[0].keys.shape == (2, 1, 10, 12)
    assert len(cache.layers) == 3


def test_a_full_cache_says_so_and_is_left_as_it_was() -> None:
    model = build_model(*TINY)
    cache = model.new_cache(1, 4)
    model(torch.zeros(1, 3, dtype=torch.long), cache)
    with pytest.raises(ValueError, match=r"max_len: the cache holds 4 tokens, but 5 were asked of it"):
        model(torch.zeros(1, 2, dtype=torch.long), cache)
    assert cache.length == 3


def test_a_cache_does_not_carry_learned_positions_beyond_their_table() -> None:
    model = build_model(*TINY, "position=learned")
    cache = model.new_cache(1, 40)
    model(torch.zeros(1, 32, dtype=torch.long), cache)
    with pytest.raises(ValueError, match=r"seq_len: learned positions know 32 places, but the sequence has 33"):
        model(torch.zeros(1, 1, dtype=torch.long), cache)
    assert cache.length == 32


# rope_dynamic turns longer sequences otherwise, but keys in the cache stay as they are: see test_position_scaled.py
@pytest.mark.parametrize("position", sorted(set(choices("position")) - {"learned", "rope_dynamic"}))
def test_all_other_encodings_go_beyond_the_training_length(position: str) -> None:
    model = build_model(*TINY, f"position={position}", "model.initialisation.std=0.2")
    cache = model.new_cache(1, 40)
    tokens = torch.randint(0, 97, (1, 40))
    with torch.no_grad():
        pieces = [model(tokens[:, :32], cache), model(tokens[:, 32:], cache)]
        torch.testing.assert_close(torch.cat(pieces, dim=1), model(tokens), rtol=1e-4, atol=5e-5)
