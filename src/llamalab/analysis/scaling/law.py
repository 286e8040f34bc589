"""The parametric law of loss against parameters and tokens (Hoffmann et al. 2022, section 3.3, equation 2)."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def training_flops(n: Any, d: Any) -> Any:
    """6 N D: forward and backward FLOP of N parameters over D tokens (Kaplan et al. 2020, section 2.1)."""
    return 6.0 * n * d


@dataclass(frozen=True)
class ScalingLaw:
    """L(N, D) = E + A / N^alpha + B / D^beta in nats a token.

    N are all parameters, embeddings included, as in Hoffmann et al. 2022; D are training tokens. A law holds for one
    tokenizer, one text and one recipe: the constants of one paper do not predict the losses of another.

    Args:
        E: loss that neither size nor tokens remove, at least 0.
        A: scale of the term that size removes, above 0.
        B: scale of the term that tokens remove, above 0.
        alpha: exponent of N, above 0.
        beta: exponent of D, above 0.
        source: where the constants come from.

    Raises:
        ValueError: a constant out of its range.
    """

    E: float
    A: float
    B: float
    alpha: float
    beta: float
    source: str

    def __post_init__(self) -> None:
        if not (math.isfinite(self.E) and self.E >= 0):
            raise ValueError(f"E: {self.E} must be finite and at least 0")
        for key in ("A", "B", "alpha", "beta"):
            value = getattr(self, key)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{key}: {value} must be finite and above 0")

    def loss(self, n: Any, d: Any) -> Any:
        """L(N, D) in nats a token; numbers or arrays that broadcast."""
        return self.E + self.A / np.power(n, self.alpha) + self.B / np.power(d, self.beta)

    def tokens_for(self, loss: float, n: Any) -> Any:
        """Tokens after which models of N parameters have a loss; infinite where N is too small to reach it."""
        return _inverse_power(loss - self.E - self.A / np.power(n, self.alpha), self.B, self.beta)

    def parameters_for(self, loss: float, d: Any) -> Any:
        """Parameters with which D tokens give a loss; infinite where D is too few to reach it."""
        return _inverse_power(loss - self.E - self.B / np.power(d, self.beta), self.A, self.alpha)

    @property
    def size_exponent(self) -> float:
        """a in N_opt ~ C^a: beta / (alpha + beta). D_opt ~ C^(1 - a)."""
        return self.beta / (self.alpha + self.beta)

    def optimum(self, flops: Any) -> tuple[Any, Any]:
        """Parameters and tokens of the lowest loss for a training budget C = 6 N D in FLOP.

        N = G (C / 6)^(beta / (alpha + beta)) with G = (alpha A / (beta B))^(1 / (alpha + beta)) (Hoffmann et al. 2022,
        equation 4).
        """
        balance = (self.alpha * self.A / (self.beta * self.B)) ** (1 / (self.alpha + self.beta))
        n = balance * np.power(flops / 6, self.size_exponent)
        return n, flops / 6 / n

    def optimum_for(self, loss: float) -> tuple[float, float]:
        """Parameters and tokens that reach a loss with the fewest training FLOP.

        At the optimum alpha A / N^alpha = beta B / D^beta, so that size accounts for beta / (alpha + beta) of what is
        above E.

        Raises:
            ValueError: a loss that no budget reaches.
        """
        above = self.above(loss)
        share = self.size_exponent
        return (self.A / (share * above)) ** (1 / self.alpha), (self.B / ((1 - share) * above)) ** (1 / self.beta)

    def above(self, loss: float) -> float:
        """A loss minus E. Raises ValueError where that leaves nothing: no model gets there."""
        if loss <= self.E:
            raise ValueError(f"loss: {loss:g} must be above the law's E of {self.E:g}, which no model reaches")
        return loss - self.E


def _inverse_power(rest: Any, scale: float, exponent: float) -> Any:
    """x where scale / x^exponent = rest; infinite where rest is not positive."""
    rest = np.asarray(rest, dtype=float)
    reachable = np.where(rest > 0, rest, 1.0)
    return np.where(rest > 0, (scale / reachable) ** (1 / exponent), math.inf)[()]
