"""The attention axis: causal self-attention with as many or fewer key-value heads than query heads."""

import functools

from torch import Tensor, nn

from llamalab.model.attention_kernel import AttentionKernel
from llamalab.model.cache import LayerMemory
from llamalab.model.layers import Linear
from llamalab.model.position import PositionContext


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017), or with shared key-value heads grouped-query attention.

    No biases. q, k and v are separate projections: under compile that is faster here than one fused one, whose
    output must be split again.

    Args:
        dim: width D.
        n_heads: query heads H; each has D / H channels.
        n_kv_heads: key-value heads G; None for n_heads / queries_per_kv_head.
        std: standard deviation of the initial wq, wk, wv.
        residual_std: the same for wo, which writes to the residual stream.
        queries_per_kv_head: query heads that share one key-value head where n_kv_heads does not say it;
            1 is multi-head attention.
        kernel: how the attention itself is computed.

    Raises:
        ValueError: dim is no multiple of n_heads, or n_heads none of n_kv_heads.

    Attributes:
        window: keys that a query sees, its own included; None for all up to its own.
    """

    window: int | None = None

    def __init__(
        self,
        dim: int,
        n_heads: int,
        n_kv_heads: int | None,
        std: float,
        residual_std: float,
        queries_per_kv_head: int,
        kernel: AttentionKernel,
    ) -> None:
        super().__init__()
        if dim % n_heads:
            raise ValueError(f"dim: {dim} is not divisible by n_heads {n_heads}; make it a multiple")
        if n_kv_heads is None:
            if n_heads % queries_per_kv_head:
                raise ValueError(
                    f"n_heads: {n_heads} is not divisible by queries_per_kv_head {queries_per_kv_head}; "
                    "make it a multiple"
                )
            n_kv_heads = n_heads // queries_per_kv_head
        if n_kv_heads < 1 or n_heads % n_kv_heads:
            raise ValueError(f"n_heads: {n_heads} is not divisible by n_kv_heads {n_kv_heads}; make it a multiple")
        self.head_dim = dim // n_heads
        self.n_kv_heads = n_kv_heads
        self.kernel = kernel
        self.wq = Linear(dim, dim, std)
        self.wk = Linear(dim, n_kv_heads * self.head_dim, std)
        self.wv = Linear(dim, n_kv_heads * self.head_dim, std)
        self.wo = Linear(dim, dim, residual_std)

    def forward(self, x: Tensor, context: PositionContext, cache: LayerMemory | None = None) -> Tensor:
        """x B T D to B T D; the cache, if given, supplies the keys and values of earlier tokens."""
        heads = (-1, self.head_dim)
        q = context.encoding.rotate(self.wq(x).unflatten(-1, heads), context.tables).transpose(1, 2)  # B H T d
        k = context.encoding.rotate(self.wk(x).unflatten(-1, heads), context.tables).transpose(1, 2)  # B G T d
        v = self.wv(x).unflatten(-1, heads).transpose(1, 2)
        attend = self.kernel if cache is None else functools.partial(cache.attend, self.kernel)
        y = attend(q, k, v, context.mask)  # B H T d
        return self.wo(y.transpose(1, 2).flatten(2))


class SlidingWindowAttention(Attention):
    """Attention to the last `window` keys, a query's own included, in every layer (Mistral 7B, section 2).

    Tokens farther apart meet through later layers. The key-value cache keeps all keys all the same: it is the model
    that is Mistral's, not the rolling buffer.

    Args:
        window: keys that a query sees.

    Raises:
        ValueError: window is not positive, and as in Attention.
    """

    def __init__(
        self,
        dim: int,
        n_heads: int,
        n_kv_heads: int | None,
        std: float,
        residual_std: float,
        queries_per_kv_head: int,
        kernel: AttentionKernel,
        window: int,
    ) -> None:
        if window < 1:
            raise ValueError(f"window: a query sees at least its own key, not {window}; give 1 or more")
        super().__init__(dim, n_heads, n_kv_heads, std, residual_std, queries_per_kv_head, kernel)
        self.window = window
