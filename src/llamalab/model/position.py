"""The position axis: how the model knows the order of its tokens.

An encoding may act in three places: on the embeddings, on queries and keys, on the attention scores. The base class
does nothing in all three (which is the choice `none`); each encoding implements the places it needs, and the model
and its blocks call all three without knowing which one they hold.
"""

import dataclasses

import torch
from torch import Tensor, nn

from llamalab.model.attention_kernel import AttentionMask
from llamalab.model.layers import Embedding


class PositionEncoding(nn.Module):
    """No encoding at all (NoPE): order is known only through the causal mask (Haviv et al. 2022).

    All encodings take from the model `dim`, `n_heads`, `head_dim`, `max_seq_len` and `std`.
    """

    def __init__(self, dim: int, n_heads: int, head_dim: int, max_seq_len: int, std: float) -> None:
        super().__init__()

    def check_length(self, length: int) -> None:
        """Raises ValueError if the encoding knows fewer than `length` positions."""

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        """Acts on the embeddings: x B T D, positions T (int64, 0 for the first token of a sequence)."""
        return x

    def tables(self, positions: Tensor) -> tuple[Tensor, ...]:
        """What `rotate` needs for these positions (T); made once per forward pass and shared by all blocks."""
        return ()

    def rotate(self, x: Tensor, tables: tuple[Tensor, ...]) -> Tensor:
        """Acts on queries or keys: x B T H d."""
        return x

    def score_bias(self, queries: Tensor, keys: Tensor) -> Tensor | None:
        """What is added to the attention scores, H T S in float32, for query positions T and key positions S.

        Both are consecutive, and the last query sits on the last key. What lies ahead of a query is masked later.
        """
        return None


@torch.library.custom_op("llamalab::rotary_tables", mutates_args=())
def rotary_tables(positions: Tensor, frequencies: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of position * frequency: each T d/2 in float32, for positions T and frequencies d/2.

    An operator of its own so that torch.compile makes the tables once per step: it would otherwise put the sine and
    cosine into the kernels that use them, and so compute them again for every sequence, head and block.
    """
    angles = torch.outer(positions.float(), frequencies)
    return angles.cos(), angles.sin()


@rotary_tables.register_fake
def _(positions: Tensor, frequencies: Tensor) -> tuple[Tensor, Tensor]:
    shape = (positions.shape[0], frequencies.shape[0])
    return frequencies.new_empty(shape), frequencies.new_empty(shape)


def geometric_frequencies(width: int, theta: float | Tensor, device: torch.device) -> Tensor:
    """theta^(-2i/width) for i = 0 .. width/2 - 1, in radians per token, float32; theta has no dimension."""
    exponents = torch.arange(0, width, 2, device=device, dtype=torch.float32) / width
    return theta**-exponents


class RotaryPosition(PositionEncoding):
    """RoPE: each pair of neighbouring channels of q and k is turned by position * theta^(-2i/d).

    Su et al. 2021, equation 34; LLaMA section 2.2. Pairs are adjacent channels (2i, 2i+1) as in Meta's code, and the
    turn is done in float32 whatever the precision. The angles are made from scratch in each forward pass: there is no
    table to keep in float32, to materialise from the meta device, or to outgrow.

    Args:
        theta: base of the frequencies.

    Raises:
        ValueError: head_dim is odd.
    """

    def __init__(self, dim: int, n_heads: int, head_dim: int, max_seq_len: int, std: float, theta: float) -> None:
        super().__init__(dim, n_heads, head_dim, max_seq_len, std)
        if head_dim % 2:
            raise ValueError(
                f"dim: rope turns pairs of channels, but dim {dim} / n_heads {n_heads} gives heads of odd width "
                f"{head_dim}; choose a dim that is a multiple of {2 * n_heads}, or an even head_dim"
            )
        self.head_dim = head_dim
        self.theta = theta

    def frequencies(self, device: torch.device) -> Tensor:
        """How fast each pair turns: d/2 in radians per token, float32."""
        return geometric_frequencies(self.head_dim, self.theta, device)

    def tables(self, positions: Tensor) -> tuple[Tensor, ...]:
        """Cosines and sines of the angles, each T d/2 in float32."""
        return rotary_tables(positions, self.frequencies(positions.device))

    def rotate(self, x: Tensor, tables: tuple[Tensor, ...]) -> Tensor:
        """x B T H d to the same shape, turned."""
        cosine, sine = (table[:, None, :] for table in tables)  # T 1 d/2
        pairs = x.float().unflatten(-1, (-1, 2))  # B T H d/2 2
        # One pass over memory either way: the compiler fuses real arithmetic but not complex, eager mode the reverse.
        turn = turn_real if torch.compiler.is_compiling() else turn_complex
        return turn(pairs, cosine, sine).flatten(-2).type_as(x)


def turn_real(pairs: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turns the pairs in the last dimension: (a, b) to (a cos - b sin, a sin + b cos)."""
    first, second = pairs.unbind(-1)
    return torch.stack((first * cosine - second * sine, first * sine + second * cosine), dim=-1)


def turn_complex(pairs: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """The same as one complex product, (a + ib) (cos + i sin)."""
    return torch.view_as_real(torch.view_as_complex(pairs) * torch.complex(cosine, sine))


class LearnedPosition(PositionEncoding):
    """A trained vector per position, added to the embeddings (GPT-3's choice, which LLaMA removed)."""

    def __init__(self, dim: int, n_heads: int, head_dim: int, max_seq_len: int, std: float) -> None:
        super().__init__(dim, n_heads, head_dim, max_seq_len, std)
        self.table = Embedding(max_seq_len, dim, std)

    def check_length(self, length: int) -> None:
        """Raises ValueError if the sequence is longer than the table."""
        known = self.table.num_embeddings
        if length > known:
            raise ValueError(f"seq_len: learned positions know {known} places, but the sequence has {length}")

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        """x B T D plus its positions' vectors."""
        return x + self.table(positions)


class SinusoidalPosition(PositionEncoding):
    """Sines and cosines of the position, added to the embeddings: the original Transformer's choice.

    Channel 2i holds sin(position * theta^(-2i/D)) and channel 2i+1 the cosine (Vaswani et al. 2017, section 3.5), times
    the standard deviation of the initial embeddings. Vaswani et al. bring embeddings to a standard deviation of 1
    before adding sinusoids of amplitude 1; here embeddings stay at theirs (0.08 at dim 64) as in all other arms, and
    sinusoids of amplitude 1 would drown them. So the two stand to each other as published, and the residual stream
    starts as in the other arms.

    Args:
        theta: base of the frequencies.

    Raises:
        ValueError: dim is odd.
    """

    def __init__(self, dim: int, n_heads: int, head_dim: int, max_seq_len: int, std: float, theta: float) -> None:
        super().__init__(dim, n_heads, head_dim, max_seq_len, std)
        if dim % 2:
            raise ValueError(f"dim: sinusoidal positions fill pairs of channels, but dim {dim} is odd; make it even")
        self.dim = dim
        self.theta = theta
        self.amplitude = std

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        """x B T D plus its positions' waves."""
        cosine, sine = rotary_tables(positions, geometric_frequencies(self.dim, self.theta, positions.device))
        return x + (self.amplitude * torch.stack((sine, cosine), dim=-1).flatten(-2)).type_as(x)


@dataclasses.dataclass(frozen=True)
class PositionContext:
    """What every block of one forward pass is told about positions.

    A plain object rather than a tuple of tensors, so that FSDP2's input casting leaves the tables in float32.

    Attributes:
        encoding: the model's encoding.
        tables: what its `rotate` needs.
        mask: what attention may see and what is added to its scores.
    """

    encoding: PositionEncoding
    tables: tuple[Tensor, ...]
    mask: AttentionMask
