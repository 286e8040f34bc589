"""The LLaMA architecture (Touvron et al. 2023, section 2.2), its axes filled in by the config."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from llamalab.model.attention import Attention
from llamalab.model.attention_kernel import AttentionMask, attention_mask
from llamalab.model.block import Block
from llamalab.model.cache import KeyValueCache, LayerCache, LayerMemory
from llamalab.model.feed_forward import reference_width
from llamalab.model.initialisation import NormalInitialisation
from llamalab.model.layers import Embedding, Linear, parameter_count, parameter_device
from llamalab.model.loss import ChunkedCrossEntropy, Reduction
from llamalab.model.norm_placement import NormPlacement
from llamalab.model.position import PositionContext, PositionEncoding

Factory = Callable[..., nn.Module]


class Llama(nn.Module):
    """A decoder-only language model: embeddings, blocks, norm, output head.

    Parameters carry Meta's names (`tok_embeddings`, `layers.0.attention.wq`, ...). Weights are drawn from the global
    random number generator, so `torch.manual_seed` before the constructor fixes them. Under `torch.device("meta")`
    nothing is allocated, and every module with parameters of its own can draw them later by `reset_parameters`.

    Args:
        vocab_size: V.
        dim: width D of the residual stream.
        n_layers: number of blocks L.
        n_heads: query heads H.
        n_kv_heads: key-value heads; None leaves it to the attention (as many as query heads in `multi_head`).
        max_seq_len: longest training sequence; learned positions cannot go beyond it.
        tied_embeddings: whether the output head is the embedding table.
        multiple_of: the feed-forward width is rounded up to a multiple of this.
        norm: makes a norm from `dim`.
        norm_placement: where norms sit.
        feed_forward: makes a feed-forward from `dim, parameters, multiple_of, std, residual_std`.
        position: makes a position encoding from `dim, n_heads, head_dim, max_seq_len, std`.
        attention: makes an attention from `dim, n_heads, n_kv_heads, std, residual_std`.
        initialisation: how wide the weights are drawn.
        cross_entropy: how `loss` computes it.

    Raises:
        ValueError: a combination that cannot be built, such as a dim that the heads do not divide; the message
            starts with the key.
    """

    def __init__(
        self,
        vocab_size: int,
        dim: int,
        n_layers: int,
        n_heads: int,
        n_kv_heads: int | None,
        max_seq_len: int,
        tied_embeddings: bool,
        multiple_of: int,
        norm: Factory,
        norm_placement: NormPlacement,
        feed_forward: Factory,
        position: Callable[..., PositionEncoding],
        attention: Callable[..., Attention],
        initialisation: NormalInitialisation,
        cross_entropy: ChunkedCrossEntropy,
    ) -> None:
        super().__init__()
        sizes = {
            "vocab_size": vocab_size,
            "dim": dim,
            "n_layers": n_layers,
            "n_heads": n_heads,
            "max_seq_len": max_seq_len,
            "multiple_of": multiple_of,
        }
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"{name}: {size} is not a positive number")
        if dim % n_heads:
            raise ValueError(f"dim: {dim} is not divisible by n_heads {n_heads}; make it a multiple")
        self.vocab_size = vocab_size
        self.dim = dim
        self.max_seq_len = max_seq_len
        self.cross_entropy = cross_entropy
        std, residual_std = initialisation.spreads(dim, n_layers)

        self.tok_embeddings = Embedding(vocab_size, dim, std)
        self.position = position(dim=dim, n_heads=n_heads, head_dim=dim // n_heads, max_seq_len=max_seq_len, std=std)
        self.layers = nn.ModuleList()
        self.window: int | None = None
        for _ in range(n_layers):
            attend = attention(dim=dim, n_heads=n_heads, n_kv_heads=n_kv_heads, std=std, residual_std=residual_std)
            self.window = attend.window
            # A block has the parameters of LLaMA's own, whatever its attention and feed-forward are.
            budget = 4 * dim**2 + 3 * dim * reference_width(dim, multiple_of) - parameter_count(attend)
            transform = feed_forward(
                dim=dim, parameters=budget, multiple_of=multiple_of, std=std, residual_std=residual_std
            )
            self.layers.append(Block(attend, transform, norm(dim=dim), norm(dim=dim), norm_placement))
        self.norm = norm(dim=dim) if norm_placement.final_norm else nn.Identity()
        self.output = None if tied_embeddings else Linear(dim, vocab_size, std)

    def head_weight(self) -> Tensor:
        """The output head, V D."""
        return self.tok_embeddings.weight if self.output is None else self.output.weight

    def hidden(self, tokens: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        """The normed output of the last block.

        Args:
            tokens: B T, int64.
            cache: holds the tokens before these; it is extended by them.

        Returns:
            B T D.

        Raises:
            ValueError: more tokens than the cache or the position encoding has room for.
        """
        count = tokens.shape[1]
        start = 0 if cache is None else cache.length
        self.position.check_length(start + count)
        if cache is not None:
            cache.reserve(count)
        seen = torch.arange(start + count, device=tokens.device)
        positions = seen[start:]
        x = self.position.embed(self.tok_embeddings(tokens), positions)  # B T D
        bias = self.position.score_bias(positions, seen)
        device = x.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype  # of q
        mask = attention_mask(count, start + count, self.window, bias, dtype, x.device)
        return self.through_blocks(x, positions, mask, None if cache is None else cache.layers)

    def through_blocks(
        self, x: Tensor, positions: Tensor, mask: AttentionMask, memories: Sequence[LayerMemory] | None
    ) -> Tensor:
        """Embedded tokens B T D at `positions` (T) through all blocks and the last norm: B T D.

        `memories`, one per block, supply the keys and values of earlier tokens.
        """
        context = PositionContext(self.position, self.position.tables(positions), mask)
        for index, layer in enumerate(self.layers):
            x = layer(x, context, None if memories is None else memories[index])
        return self.norm(x)

    def forward(self, tokens: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        """Logits B T V of the token after each of `tokens` (B T); the cache is as in `hidden`."""
        return nn.functional.linear(self.hidden(tokens, cache), self.head_weight())

    def loss(self, tokens: Tensor, targets: Tensor, reduction: Reduction = "mean") -> Tensor:
        """Cross-entropy in nats per token, without holding all logits.

        Args:
            tokens: B T, int64.
            targets: B T, int64: the token after each; -100 where it does not count.
            reduction: "mean" for one number, "none" for B T of them.
        """
        hidden = self.hidden(tokens)
        loss = self.cross_entropy(hidden.flatten(0, 1), self.head_weight(), targets.flatten(), reduction)
        return loss.view_as(targets) if reduction == "none" else loss

    def new_cache(self, batch: int, max_len: int) -> KeyValueCache:
        """An empty key-value cache for `batch` sequences of up to `max_len` tokens."""
        weight = self.tok_embeddings.weight

        def layer_cache(layer: nn.Module) -> LayerCache:
            attention = layer.get_submodule("attention")
            assert isinstance(attention, Attention)
            shape = (batch, attention.n_kv_heads, max_len, attention.head_dim)
            return LayerCache(shape, weight.dtype, parameter_device(self))

        return KeyValueCache([layer_cache(layer) for layer in self.layers], max_len)

    def parameter_counts(self) -> dict[str, int]:
        """`total`, `embedding` (token table, output head, position table) and `non_embedding` parameters.

        Arms of a study are matched in `non_embedding`. Works on the meta device.
        """
        total = parameter_count(self)
        embedding = parameter_count(self.tok_embeddings) + parameter_count(self.position)
        embedding += 0 if self.output is None else parameter_count(self.output)
        return {"total": total, "embedding": embedding, "non_embedding": total - embedding}

    def flops_per_token(self, seq_len: int) -> int:
        """Floating-point operations to train on one token: 6 M + 12 L D K.

        M counts the weights that a token is multiplied with: all projections and the output head, but neither the
        embedding lookup nor norms; 2 M forward and twice that backward (Kaplan et al. 2020, section 2.1). The second
        term is attention's two products over the K keys that a query sees on average, (T + 1) / 2 unless a window
        ends earlier; operations on masked scores are not counted, though a kernel may perform them. Recomputation is
        not counted either.

        Args:
            seq_len: T.
        """
        multiplied = sum(module.weight.numel() for module in self.layers.modules() if isinstance(module, Linear))
        multiplied += self.vocab_size * self.dim
        window = min(self.window or seq_len, seq_len)
        pairs = window * (window + 1) // 2 + (seq_len - window) * window  # of a query and a key that it sees
        return 6 * multiplied + 12 * len(self.layers) * self.dim * pairs // seq_len
