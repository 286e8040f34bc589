"""Cross-entropy from hidden states, without ever holding the logits of the whole batch.

Tokens go through the output head in chunks; where a gradient is wanted it is made right there, while the chunk's
logits exist, so backward only scales it. Memory is one chunk of logits instead of B T V in float32, twice.
"""

import dataclasses
from typing import Any, Literal

import torch
from torch import Tensor

IGNORED = -100  # target of a position that does not count, as in torch's cross_entropy

Reduction = Literal["mean", "none"]


@dataclasses.dataclass(frozen=True)
class ChunkedCrossEntropy:
    """Cross-entropy in nats per token of `hidden @ weightᵀ` against targets.

    Products are taken in the precision of the surroundings (bfloat16 under autocast), the softmax and the loss in
    float32, and the gradient of the weight is summed over chunks in float32.

    torch 2.13's own chunked `linear_cross_entropy` is as fast in float32, but in bfloat16 on a CPU it multiplies in
    float32 (2.2 times slower here, compiled) and returns the loss in bfloat16, 8.25 for 8.367; torch 2.11 has none.

    Args:
        chunk_tokens: tokens whose logits exist at one time.
    """

    chunk_tokens: int

    def __call__(self, hidden: Tensor, weight: Tensor, targets: Tensor, reduction: Reduction) -> Tensor:
        """The loss of hidden states N D under the output head V D.

        Args:
            hidden: N D.
            weight: V D.
            targets: N, int64; IGNORED where a position does not count.
            reduction: "mean" over the positions that count, or "none" for N losses (0 where ignored).
        """
        device = hidden.device.type
        if torch.is_autocast_enabled(device):
            hidden = hidden.to(torch.get_autocast_dtype(device))
        weight = weight.to(hidden.dtype)
        counts = targets != IGNORED
        with torch.autocast(device, enabled=False):
            if reduction == "none":
                return PerTokenLoss.apply(hidden, weight, targets, self.chunk_tokens)
            # float32 by name: under bf16-true the default type would round the shares, and their sum
            share = counts.float() / counts.sum()
            with_gradient = torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad)
            if with_gradient:
                return WeightedLoss.apply(hidden, weight, targets, share, self.chunk_tokens)
            return (share * PerTokenLoss.apply(hidden, weight, targets, self.chunk_tokens)).sum()


def chunk_losses(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Losses N and log-probabilities N V, both float32, of one chunk."""
    log_probabilities = torch.log_softmax(hidden @ weight.T, dim=-1, dtype=torch.float32)
    chosen = log_probabilities.gather(-1, targets.clamp(min=0)[:, None])[:, 0]
    return torch.where(targets == IGNORED, 0.0, -chosen), log_probabilities


def chunk_gradients(
    hidden: Tensor, weight: Tensor, targets: Tensor, losses: Tensor, log_probabilities: Tensor, upstream: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of sum(upstream * losses) with respect to the chunk's hidden states and the weight (float32).

    Uses up `log_probabilities`. `upstream` is 0 where a position does not count.
    """
    slope = log_probabilities.exp_().mul_(upstream[:, None]).to(hidden.dtype)
    # The target's own entry, p - 1, is rounded only after the subtraction: p may be close to 1.
    own = torch.expm1(-losses) * upstream
    slope = slope.scatter_(-1, targets.clamp(min=0)[:, None], own.to(slope.dtype)[:, None])
    return slope @ weight, (slope.T @ hidden).float()


class WeightedLoss(torch.autograd.Function):
    """sum(upstream * losses): the gradients are made in forward, chunk by chunk, and scaled in backward."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, upstream: Tensor, size: int) -> Tensor:
        """The weighted sum of the losses, a float32 scalar."""
        total = hidden.new_zeros((), dtype=torch.float32)
        hidden_gradients = []
        weight_gradient: Tensor | None = None
        for h, t, u in zip(hidden.split(size), targets.split(size), upstream.split(size), strict=True):
            losses, log_probabilities = chunk_losses(h, weight, t)
            total = total + (losses * u).sum()
            of_hidden, of_weight = chunk_gradients(h, weight, t, losses, log_probabilities, u)
            hidden_gradients.append(of_hidden)
            weight_gradient = of_weight if weight_gradient is None else weight_gradient + of_weight
        assert weight_gradient is not None
        ctx.save_for_backward(torch.cat(hidden_gradients), weight_gradient.to(weight.dtype))
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        """The stored gradients, scaled."""
        of_hidden, of_weight = ctx.saved_tensors
        return of_hidden * gradient.to(of_hidden.dtype), of_weight * gradient.to(of_weight.dtype), None, None, None


class PerTokenLoss(torch.autograd.Function):
    """One loss per position; backward computes each chunk's logits again, since its weighting comes only then."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, size: int) -> Tensor:
        """Losses N in float32."""
        ctx.save_for_backward(hidden, weight, targets)
        ctx.size = size
        pairs = zip(hidden.split(size), targets.split(size), strict=True)
        return torch.cat([chunk_losses(h, weight, t)[0] for h, t in pairs])

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor, None, None]:
        """Gradients of sum(upstream * losses)."""
        hidden, weight, targets = ctx.saved_tensors
        size = ctx.size
        upstream = torch.where(targets == IGNORED, 0.0, upstream)
        hidden_gradients = []
        weight_gradient = torch.zeros_like(weight, dtype=torch.float32)
        for h, t, u in zip(hidden.split(size), targets.split(size), upstream.split(size), strict=True):
            losses, log_probabilities = chunk_losses(h, weight, t)
            of_hidden, of_weight = chunk_gradients(h, weight, t, losses, log_probabilities, u)
            hidden_gradients.append(of_hidden)
            weight_gradient += of_weight
        return torch.cat(hidden_gradients), weight_gradient.to(weight.dtype), None, None
