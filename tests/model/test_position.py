"""Position encodings: RoPE's relative property and reference formula, the three places an encoding may act in."""

import functools
import math

import pytest
import torch
from model_builders import TINY, build_model
from torch import Tensor

from llamalab.model.position import LearnedPosition, PositionEncoding, RotaryPosition, SinusoidalPosition

rotary = functools.partial(RotaryPosition, dim=64, n_heads=4, head_dim=16, max_seq_len=32, std=0.02)


def rotated(encoding: RotaryPosition, vector: Tensor, place: int) -> Tensor:
    """A head's vector (d) as it looks at a position."""
    return encoding.rotate(vector[None, None, None], encoding.tables(torch.tensor([place])))[0, 0, 0]


def test_rope_equals_complex_multiplication_of_neighbouring_pairs_in_float64() -> None:
    encoding = rotary(theta=10_000.0)
    x = torch.randn(2, 7, 4, 16)
    positions = torch.arange(5, 12)
    frequencies = torch.tensor([10_000.0 ** (-2 * i / 16) for i in range(8)], dtype=torch.float64)
    turn = torch.polar(torch.ones(7, 8, dtype=torch.float64), torch.outer(positions.double(), frequencies))
    expected = torch.view_as_real(torch.view_as_complex(x.double().unflatten(-1, (8, 2))) * turn[:, None]).flatten(-2)
    torch.testing.assert_close(encoding.rotate(x, encoding.tables(positions)).double(), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("theta", [10_000.0, 500.0])
def test_rope_scores_depend_only_on_the_distance(theta: float) -> None:
    encoding = rotary(theta=theta)
    q, k = torch.randn(16), torch.randn(16)
    for distance in (0, 1, 9):
        scores = torch.stack([rotated(encoding, q, p + distance) @ rotated(encoding, k, p) for p in (0, 3, 100, 1000)])
        torch.testing.assert_close(scores, scores[:1].expand(4), rtol=0, atol=1e-3)
    near, far = (rotated(encoding, q, p) @ rotated(encoding, k, 0) for p in (1, 9))
    assert abs(near - far) > 1e-2


def test_rope_keeps_lengths_and_leaves_position_zero_alone() -> None:
    encoding = rotary(theta=10_000.0)
    x = torch.randn(1, 50, 4, 16)
    turned = encoding.rotate(x, encoding.tables(torch.arange(50)))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(turned[:, 0], x[:, 0])


def test_rope_is_made_in_float32_whatever_the_models_precision() -> None:
    model = build_model(*TINY).to(torch.bfloat16)
    tables = model.position.tables(torch.arange(4000))
    assert all(table.dtype == torch.float32 for table in tables)
    last = math.cos(3999.0)
    assert abs(tables[0][3999, 0].item() - last) < 1e-3


def test_rope_has_nothing_to_save() -> None:
    model = build_model(*TINY)
    assert not list(model.position.state_dict())
    assert not list(model.buffers())


def test_a_sequence_longer_than_the_learned_table_is_refused() -> None:
    encoding = LearnedPosition(dim=8, n_heads=2, head_dim=4, max_seq_len=16, std=0.02)
    with pytest.raises(ValueError, match=r"seq_len: learned positions know 16 places, but the sequence has 17"):
        encoding.check_length(17)


def test_sinusoidal_positions_equal_the_formula_in_float64() -> None:
    sizes = {"dim": 12, "n_heads": 2, "head_dim": 6, "max_seq_len": 16, "std": 0.02}
    encoding = SinusoidalPosition(**sizes, theta=10_000.0)
    x = torch.randn(2, 9, 12)
    expected = x.double()
    for place in range(9):
        for i in range(6):
            angle = (place + 20) / 10_000 ** (2 * i / 12)
            expected[:, place, 2 * i] += 0.02 * math.sin(angle)
            expected[:, place, 2 * i + 1] += 0.02 * math.cos(angle)
    torch.testing.assert_close(encoding.embed(x, torch.arange(20, 29)).double(), expected, rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match=r"dim: sinusoidal positions fill pairs of channels, but dim 13 is odd"):
        SinusoidalPosition(**{**sizes, "dim": 13}, theta=10_000.0)


def test_sinusoidal_positions_are_as_large_against_the_embeddings_as_published() -> None:
    model = build_model("scale=micro", "scale.n_layers=1", "position=sinusoidal")
    waves = model.position.embed(torch.zeros(1, 256, 256), torch.arange(256))
    ratio = waves.square().mean().sqrt() / model.tok_embeddings.weight.std()
    assert abs(ratio - math.sqrt(0.5)) < 0.02  # amplitude 1 to standard deviation 1


class DistancePenalty(PositionEncoding):
    """An encoding that acts on the scores, as a new variant would be written (ALiBi's form, one slope)."""

    def score_bias(self, queries: Tensor, keys: Tensor) -> Tensor:
        return -0.5 * (queries[:, None] - keys[None, :]).float().expand(4, -1, -1)


def test_an_encoding_can_act_on_the_scores_and_the_cache_knows_the_distance() -> None:
    model = build_model(*TINY, "position=none", "model.initialisation.std=0.2").eval()
    tokens = torch.randint(0, 97, (2, 12))
    with torch.no_grad():
        without = model(tokens)
        model.position = DistancePenalty(dim=48, n_heads=4, head_dim=12, max_seq_len=32, std=0.02)
        with_penalty = model(tokens)
        assert not torch.allclose(without[:, -1], with_penalty[:, -1], atol=1e-2)
        assert torch.equal(without[:, 0], with_penalty[:, 0])

        cache = model.new_cache(2, 12)
        pieces = [model(tokens[:, a:b], cache) for a, b in ((0, 5), (5, 6), (6, 12))]
    torch.testing.assert_close(torch.cat(pieces, dim=1), with_penalty, rtol=1e-4, atol=1e-5)
