"""Position encodings that act on the attention scores by a bias that depends on the distance alone."""

import abc
import math

import torch
from torch import Tensor

from llamalab.model.layers import Embedding
from llamalab.model.position import PositionEncoding


class DistanceBias(PositionEncoding, abc.ABC):
    """A bias per head and distance, laid out as a matrix.

    The matrix is made once per forward pass and shared by all blocks. Its values are computed for the T + S - 1
    distances, and each row is a window on them; so the backward pass sums diagonals instead of scattering T S numbers.
    """

    @abc.abstractmethod
    def by_distance(self, distances: Tensor) -> Tensor:
        """The bias of keys that lie `distances` (n, int64, 0 or more) tokens before the query: H n in float32."""

    def score_bias(self, queries: Tensor, keys: Tensor) -> Tensor:
        """H T S for consecutive positions T and S that end on the same token. Ahead of a query: as at distance 0."""
        steps = torch.arange(len(queries) + len(keys) - 1, device=queries.device)
        distances = queries[-1] - keys[0] - steps  # from the last query and first key to the first query and last key
        values = self.by_distance(distances.clamp(min=0))
        return values.unfold(-1, len(keys), 1).flip(-2)


def alibi_slopes(n_heads: int) -> list[float]:
    """ALiBi's slope of each head: 2^(-8i/n) for i = 1 .. n.

    For n no power of two, the slopes of the next smaller power of two m, and then every other slope of 2m (Press et
    al. 2022, section 3 and `get_slopes` of their code).
    """
    power = 2 ** math.floor(math.log2(n_heads))
    slopes = [2 ** (-8 * i / power) for i in range(1, power + 1)]
    between = [2 ** (-8 * i / (2 * power)) for i in range(1, 2 * power + 1, 2)]
    return slopes + between[: n_heads - power]


class ALiBiPosition(DistanceBias):
    """Attention with linear biases: each score is lowered by slope * distance (Press et al. 2022, section 3).

    The slopes are fixed. As all that is added to scores, the bias is rounded to the precision that attention computes
    in.
    """

    def __init__(self, dim: int, n_heads: int, head_dim: int, max_seq_len: int, std: float) -> None:
        super().__init__(dim, n_heads, head_dim, max_seq_len, std)
        self.slopes = alibi_slopes(n_heads)

    def by_distance(self, distances: Tensor) -> Tensor:
        """-slope * distance, H n."""
        slopes = torch.tensor(self.slopes, dtype=torch.float32, device=distances.device)
        return -torch.outer(slopes, distances.float())


def relative_bucket(distances: Tensor, num_buckets: int, max_distance: int) -> Tensor:
    """T5's bucket of each distance (0 or more tokens back), for causal attention (Raffel et al. 2020, section 2.1).

    The first half of the buckets hold one distance each; the others grow logarithmically up to max_distance, and the
    last holds all that is farther. In float32, as in T5's code.
    """
    exact = num_buckets // 2
    share = torch.log(distances.clamp(min=exact).float() / exact) / math.log(max_distance / exact)
    logarithmic = exact + (share * (num_buckets - exact)).long()
    return torch.where(distances < exact, distances, logarithmic.clamp(max=num_buckets - 1))


class T5Position(DistanceBias):
    """A trained bias per head and bucket of distances, one table for all layers (Raffel et al. 2020, section 2.1).

    Scores are divided by sqrt(d) as everywhere here, which T5 leaves out.

    Args:
        num_buckets: rows of the table.
        max_distance: distances from this on share the last bucket, in tokens.

    Raises:
        ValueError: fewer than two buckets, or no distance left for the logarithmic half of them.
    """

    def __init__(
        self,
        dim: int,
        n_heads: int,
        head_dim: int,
        max_seq_len: int,
        std: float,
        num_buckets: int,
        max_distance: int,
    ) -> None:
        super().__init__(dim, n_heads, head_dim, max_seq_len, std)
        if num_buckets < 2:
            raise ValueError(f"num_buckets: {num_buckets} is too few; T5 has 32, give 2 or more")
        if max_distance <= num_buckets // 2:
            raise ValueError(
                f"max_distance: {max_distance} must exceed half of num_buckets {num_buckets}; raise it or lower those"
            )
        self.num_buckets = num_buckets
        self.max_distance = max_distance
        self.table = Embedding(num_buckets, n_heads, std)

    def by_distance(self, distances: Tensor) -> Tensor:
        """The table's entries, H n."""
        return self.table(relative_bucket(distances, self.num_buckets, self.max_distance)).float().T
