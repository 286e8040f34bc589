"""The norm placement axis: where the norm sits around a sub-layer and its residual connection.

A placement is a callable (x, norm, sublayer) -> the new residual stream, plus `final_norm`: whether the stack's
output still needs a norm before the output head.
"""

import dataclasses
from collections.abc import Callable
from typing import Protocol

from torch import Tensor

Transform = Callable[[Tensor], Tensor]


class NormPlacement(Protocol):
    """What a block and the model need from a placement."""

    final_norm: bool

    def __call__(self, x: Tensor, norm: Transform, sublayer: Transform) -> Tensor:
        """One residual step on the stream x, B T D."""


@dataclasses.dataclass(frozen=True)
class PreNorm:
    """x + f(norm(x)): "we normalize the input of each transformer sub-layer" (LLaMA section 2.2)."""

    final_norm: bool = dataclasses.field(default=True, init=False)

    def __call__(self, x: Tensor, norm: Transform, sublayer: Transform) -> Tensor:
        """One residual step on the stream x, B T D."""
        return x + sublayer(norm(x))


@dataclasses.dataclass(frozen=True)
class PostNorm:
    """norm(x + f(x)): Vaswani et al. 2017, section 3.1.

    The stream leaves each block normed, so there is no final norm.
    """

    final_norm: bool = dataclasses.field(default=False, init=False)

    def __call__(self, x: Tensor, norm: Transform, sublayer: Transform) -> Tensor:
        """One residual step on the stream x, B T D."""
        return norm(x + sublayer(x))


@dataclasses.dataclass(frozen=True)
class ReorderedNorm:
    """x + norm(f(x)): each sub-layer reads the raw stream and its output is normed (OLMo 2, section 2.1).

    OLMo 2 norms queries and keys as well; that is another axis, and not part of this choice.
    """

    final_norm: bool = dataclasses.field(default=True, init=False)

    def __call__(self, x: Tensor, norm: Transform, sublayer: Transform) -> Tensor:
        """One residual step on the stream x, B T D."""
        return x + norm(sublayer(x))
