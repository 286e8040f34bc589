"""The norm axis: what normalises the input of each sub-layer.

A norm takes `dim` from the model and maps `... D` to `... D` in the input's dtype.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RMSNorm(nn.Module):
    """Root mean square layer normalisation: x / sqrt(mean(x²) + eps) * weight.

    Zhang and Sennrich 2019, equation 4; LLaMA section 2.2. The statistics are taken in float32 and the normalised
    input is cast back before it is scaled, as in Meta's code.

    Args:
        dim: width D.
        eps: added to the mean square.
    """

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Back to the identity scale."""
        nn.init.ones_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Normalises the last dimension: ... D to ... D."""
        wide = x.float()
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return (wide * scale).type_as(x) * self.weight


class LayerNorm(nn.Module):
    """Layer normalisation with scale and shift (Ba et al. 2016), statistics in float32.

    Args:
        dim: width D.
        eps: added to the variance.
    """

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(dim))
        self.bias = nn.Parameter(torch.empty(dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Back to the identity."""
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Normalises the last dimension: ... D to ... D."""
        normalised = F.layer_norm(x.float(), self.weight.shape, eps=self.eps)
        return normalised.type_as(x) * self.weight + self.bias


class NoNorm(nn.Module):
    """No normalisation: the input itself.

    The ablation of all norms. Nothing then bounds the residual stream: expect divergence at learning rates that normed
    models like, and read it as an outcome.

    Args:
        dim: width D; taken because the model gives it to every norm.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        """... D, unchanged."""
        return x
