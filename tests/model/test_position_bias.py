"""ALiBi and T5's relative bias: published slopes and buckets, the matrix they are laid out in, their gradients."""

import math

import pytest
import torch
from model_builders import TINY, build_model
from torch import Tensor
from transformers.models.bloom.modeling_bloom import _get_alibi_slopes
from transformers.models.t5.modeling_t5 import T5Attention

from llamalab.model.attention_kernel import visible
from llamalab.model.position_bias import ALiBiPosition, DistanceBias, T5Position, alibi_slopes, relative_bucket

SIZES = {"dim": 48, "head_dim": 12, "max_seq_len": 32, "std": 0.5}


def alibi(n_heads: int) -> ALiBiPosition:
    return ALiBiPosition(n_heads=n_heads, **SIZES)


def t5(n_heads: int) -> T5Position:
    return T5Position(n_heads=n_heads, **SIZES, num_buckets=32, max_distance=128)


def test_slopes_are_the_papers() -> None:
    assert alibi_slopes(8) == [1 / 2**i for i in range(1, 9)]
    assert alibi_slopes(16) == pytest.approx([2 ** (-i / 2) for i in range(1, 17)])
    assert alibi_slopes(1) == [1 / 256]
    # section 3 of the paper's code: six heads take the four of 4 and the first two of every other one of 8
    assert alibi_slopes(6) == [1 / 4, 1 / 16, 1 / 64, 1 / 256, 1 / 2, 1 / 8]


@pytest.mark.parametrize("n_heads", [1, 2, 3, 4, 6, 8, 12, 16, 20, 52])
def test_slopes_equal_blooms(n_heads: int) -> None:
    theirs = _get_alibi_slopes(n_heads, torch.device("cpu"))
    torch.testing.assert_close(torch.tensor(alibi_slopes(n_heads)), theirs.float(), rtol=1e-6, atol=0)


@pytest.mark.parametrize(("num_buckets", "max_distance"), [(32, 128), (32, 256), (16, 64), (8, 20), (2, 3), (5, 9)])
def test_buckets_equal_t5s_causal_ones(num_buckets: int, max_distance: int) -> None:
    distances = torch.arange(3 * max_distance)
    theirs = T5Attention._relative_position_bucket(
        -distances, bidirectional=False, num_buckets=num_buckets, max_distance=max_distance
    )
    ours = relative_bucket(distances, num_buckets, max_distance)
    assert torch.equal(ours, theirs)
    assert torch.equal(ours.unique(), torch.arange(num_buckets))


def bias_by_hand(encoding: DistanceBias, query: int, key: int) -> list[float]:
    """The bias of one pair, per head, in Python's floats."""
    if isinstance(encoding, T5Position):
        distance = query - key
        bucket = distance
        if distance >= 16:
            bucket = min(31, 16 + int(math.log(distance / 16) / math.log(128 / 16) * 16))
        return encoding.table.weight[bucket].tolist()
    return [-(2 ** (-8 * i / 4)) * (query - key) for i in range(1, 5)]


@pytest.mark.parametrize("encoding", [alibi(4), t5(4)], ids=["alibi", "t5"])
@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (1, 40), (7, 40), (40, 40)])
def test_each_entry_is_the_bias_of_its_query_and_key(encoding: DistanceBias, queries: int, keys: int) -> None:
    seen = torch.arange(keys)
    bias = encoding.score_bias(seen[keys - queries :], seen)
    assert bias.shape == (4, queries, keys)
    assert bias.dtype == torch.float32
    for t in range(queries):
        for s in range(keys - queries + t + 1):
            expected = torch.tensor(bias_by_hand(encoding, keys - queries + t, s))
            torch.testing.assert_close(bias[:, t, s], expected, rtol=1e-6, atol=1e-6)


def test_the_tables_gradient_is_what_scattering_it_would_give() -> None:
    encoding = t5(4).double()
    seen = torch.arange(200)
    hidden = ~visible(200, 200, torch.device("cpu"))
    upstream = torch.randn(4, 200, 200).masked_fill(hidden, 0.0)
    bias = encoding.score_bias(seen, seen).masked_fill(hidden, 0.0)
    (ours,) = torch.autograd.grad(bias, [encoding.table.weight], upstream)
    buckets = relative_bucket((seen[:, None] - seen).clamp(min=0), 32, 128)
    theirs = torch.zeros(32, 4, dtype=torch.float64)
    for bucket in range(32):
        theirs[bucket] = (upstream.double() * (buckets == bucket)).sum((1, 2))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("kernel", ["sdpa", "blocked"])
def test_t5s_gradient_through_the_model_is_the_slope_of_the_loss(kernel: str) -> None:
    model = build_model(*TINY, "position=t5", f"attention/kernel={kernel}", "model.initialisation.std=0.2")
    tokens, targets = torch.randint(0, 97, (2, 2, 32))
    model.loss(tokens, targets).backward()
    table = model.position.table.weight
    direction = table.grad / table.grad.norm()

    def moved(step: float) -> Tensor:
        with torch.no_grad():
            table.add_(step * direction)
            loss = model.loss(tokens, targets)
            table.sub_(step * direction)
        return loss

    measured = (moved(0.05) - moved(-0.05)) / 0.1
    torch.testing.assert_close(measured, table.grad.norm(), rtol=2e-2, atol=0)
    # 32 tokens reach buckets 0 to 21, each trained, the others not at all
    assert (table.grad[:21].abs().sum(-1) > 0).all()
    assert (table.grad[22:] == 0).all()


def test_the_bias_is_one_table_for_all_layers_counted_with_the_embeddings() -> None:
    plain, biased = build_model(*TINY, "position=rope"), build_model(*TINY, "position=t5")
    assert biased.state_dict().keys() - plain.state_dict().keys() == {"position.table.weight"}
    assert biased.position.table.weight.shape == (32, 4)
    assert biased.parameter_counts()["non_embedding"] == plain.parameter_counts()["non_embedding"]


def test_impossible_buckets_name_their_key() -> None:
    with pytest.raises(ValueError, match=r"num_buckets: 1 is too few"):
        T5Position(n_heads=4, **SIZES, num_buckets=1, max_distance=128)
    with pytest.raises(ValueError, match=r"max_distance: 16 must exceed half of num_buckets 32"):
        T5Position(n_heads=4, **SIZES, num_buckets=32, max_distance=16)
