"""The feed-forward axis: the position-wise transformation of each block.

A feed-forward takes from the model `dim`, its budget `parameters`, `multiple_of` and the two standard deviations of
its initialisation, and maps B T D to B T D. Its width is solved from the budget, so that all choices are matched in
parameters; a `width` in the config overrides that (checkpoints made by others).
"""

import abc

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llamalab.model.layers import Linear

# A width is rounded to multiple_of unless that misses the budget by more than this share of it: then to half of
# multiple_of, and so on. It keeps arms well inside the 0.5% of non-embedding parameters that they may differ by.
BUDGET_TOLERANCE = 0.001


def reference_width(dim: int, multiple_of: int) -> int:
    """LLaMA's SwiGLU width: 2/3 of 4 dim, rounded up to multiple_of (section 2.2 and Meta's code; 7B: 11008)."""
    two_thirds = int(2 * (4 * dim) / 3)
    return -(-two_thirds // multiple_of) * multiple_of


def matched_width(parameters: int, per_unit: int, multiple_of: int) -> int:
    """The width whose parameters come closest to the budget, as round a number as the tolerance allows.

    Args:
        parameters: the budget.
        per_unit: parameters of one hidden unit.
        multiple_of: the roundest step to try; it is halved until the budget is met.
    """
    step = multiple_of
    while True:
        width = max(round(parameters / (per_unit * step)), 1) * step
        if step == 1 or abs(width * per_unit - parameters) <= BUDGET_TOLERANCE * parameters:
            return width
        step //= 2


class GatedFeedForward(nn.Module, abc.ABC):
    """w2(a(w1 x) * w3 x): three matrices and an activation a, which each subclass names.

    Shazeer 2020, equations 5 and 6.

    Args:
        dim: width D.
        parameters: what the three matrices may have together (biases not counted); ignored when width is given.
        multiple_of: see `matched_width`.
        std: standard deviation of the initial w1 and w3.
        residual_std: the same for w2, which writes to the residual stream.
        width: hidden units; None solves for the budget.
        bias: whether the three have biases; LLaMA's have none.
    """

    def __init__(
        self,
        dim: int,
        parameters: int,
        multiple_of: int,
        std: float,
        residual_std: float,
        width: int | None,
        bias: bool,
    ) -> None:
        super().__init__()
        self.width = width or matched_width(parameters, 3 * dim, multiple_of)
        self.w1 = Linear(dim, self.width, std, bias)
        self.w2 = Linear(self.width, dim, residual_std, bias)
        self.w3 = Linear(dim, self.width, std, bias)

    @staticmethod
    @abc.abstractmethod
    def activation(x: Tensor) -> Tensor:
        """Element by element."""

    def forward(self, x: Tensor) -> Tensor:
        """B T D to B T D."""
        return self.w2(self.activation(self.w1(x)) * self.w3(x))


class PlainFeedForward(nn.Module, abc.ABC):
    """w2(a(w1 x)), no biases: two matrices and an activation a, which each subclass names.

    3/2 as wide as a gated one of the same parameters. Arguments as in GatedFeedForward, but for `bias`.
    """

    def __init__(
        self, dim: int, parameters: int, multiple_of: int, std: float, residual_std: float, width: int | None
    ) -> None:
        super().__init__()
        self.width = width or matched_width(parameters, 2 * dim, multiple_of)
        self.w1 = Linear(dim, self.width, std)
        self.w2 = Linear(self.width, dim, residual_std)

    @staticmethod
    @abc.abstractmethod
    def activation(x: Tensor) -> Tensor:
        """Element by element."""

    def forward(self, x: Tensor) -> Tensor:
        """B T D to B T D."""
        return self.w2(self.activation(self.w1(x)))


class SwiGLU(GatedFeedForward):
    """silu(w1 x) * w3 x (Shazeer 2020, equation 6; LLaMA section 2.2)."""

    @staticmethod
    def activation(x: Tensor) -> Tensor:
        """Element by element."""
        return F.silu(x)


class GEGLU(GatedFeedForward):
    """gelu(w1 x) * w3 x, the gelu exact (Shazeer 2020, equation 5)."""

    @staticmethod
    def activation(x: Tensor) -> Tensor:
        """Element by element."""
        return F.gelu(x)


class ReGLU(GatedFeedForward):
    """relu(w1 x) * w3 x (Shazeer 2020, equation 5)."""

    @staticmethod
    def activation(x: Tensor) -> Tensor:
        """Element by element."""
        return F.relu(x)


class GLU(GatedFeedForward):
    """sigmoid(w1 x) * w3 x: the first gated linear unit (Dauphin et al. 2017, equation 1)."""

    @staticmethod
    def activation(x: Tensor) -> Tensor:
        """Element by element."""
        return torch.sigmoid(x)


class Bilinear(GatedFeedForward):
    """(w1 x) * (w3 x): a gate without nonlinearity (Mnih and Hinton 2007; Shazeer 2020, equation 5)."""

    @staticmethod
    def activation(x: Tensor) -> Tensor:
        """The identity."""
        return x


class GELU(PlainFeedForward):
    """gelu(w1 x), exact: GPT-3's feed-forward (Hendrycks and Gimpel 2016)."""

    @staticmethod
    def activation(x: Tensor) -> Tensor:
        """Element by element."""
        return F.gelu(x)


class ReLU(PlainFeedForward):
    """relu(w1 x): the original Transformer's (Vaswani et al. 2017, equation 2)."""

    @staticmethod
    def activation(x: Tensor) -> Tensor:
        """Element by element."""
        return F.relu(x)


class SiLU(PlainFeedForward):
    """silu(w1 x), also called Swish (Ramachandran et al. 2017): SwiGLU without its gate."""

    @staticmethod
    def activation(x: Tensor) -> Tensor:
        """Element by element."""
        return F.silu(x)
