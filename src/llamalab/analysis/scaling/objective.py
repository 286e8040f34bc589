"""What a fit minimises, with its gradient, in coordinates where the five parameters hardly depend on each other."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from llamalab.analysis.scaling.law import Floats, ScalingLaw

NAMES = ("A", "B", "E", "alpha", "beta")


@dataclass(frozen=True)
class Objective:
    """Huber loss of log L(N, D) minus log loss, summed over runs (Hoffmann et al. 2022, appendix D.3).

    log L is the log-sum-exp of a - alpha log N, b - beta log D and e with a = log A, b = log B, e = log E. Here log N
    and log D are taken from their means: the first two coordinates are then the terms at the centre of the runs rather
    than at one parameter and one token, and a change of an exponent does not have to be balanced by one of a or b. So
    centred, no exponential overflows.

    The sum is divided by delta^2, because a stopping rule in absolute terms ends a search too early on residuals this
    small (which is what went wrong in the original fit: Besiroglu et al. 2024, section 4).
    """

    log_n: Floats  # runs
    log_d: Floats  # runs
    log_loss: Floats  # runs
    delta: float

    @classmethod
    def of(cls, runs: pd.DataFrame, delta: float) -> "Objective":
        """From the columns n, d and loss."""
        n, d, loss = (np.log(runs[column].to_numpy(dtype=float)) for column in ("n", "d", "loss"))
        return cls(n, d, loss, delta)

    @cached_property
    def shift(self) -> Floats:
        """Means of log N and log D."""
        return np.array([self.log_n.mean(), self.log_d.mean()])

    @cached_property
    def _centred(self) -> tuple[Floats, Floats]:
        return self.log_n - self.shift[0], self.log_d - self.shift[1]

    def terms(self, points: Floats) -> Floats:
        """The three terms of the law in nats; points ... 5 -> 3 ... runs."""
        x, y = self._centred
        a, b, e, alpha, beta = (points[..., i, None] for i in range(5))
        return np.exp(np.stack([a - alpha * x, b - beta * y, e + np.zeros_like(x)]))

    def values(self, points: Floats) -> Floats:
        """The objective at many points; S 5 -> S."""
        return self._huber(np.log(self.terms(points).sum(axis=0)) - self.log_loss)

    def value_and_gradient(self, point: Floats) -> tuple[float, Floats]:
        """The objective at one point and its gradient there (5)."""
        terms = self.terms(point)
        total = terms.sum(axis=0)
        residuals = np.log(total) - self.log_loss
        pull = np.clip(residuals, -self.delta, self.delta) / self.delta**2
        return float(self._huber(residuals)), self._derivatives(terms / total) @ pull

    def _huber(self, residuals: Floats) -> Floats:
        """Sum over runs in units of delta^2; ... runs -> ..."""
        sizes = np.abs(residuals) / self.delta
        return np.where(sizes <= 1, 0.5 * sizes**2, sizes - 0.5).sum(axis=-1)

    def _derivatives(self, shares: Floats) -> Floats:
        """Derivatives of log L by the five coordinates from each term's share of L; 3 runs -> 5 runs."""
        x, y = self._centred
        return np.stack([*shares, -shares[0] * x, -shares[1] * y])

    def rank(self, point: Floats) -> int:
        """How many of the five parameters the runs determine: the rank of the derivatives, each of length one."""
        terms = self.terms(point)
        jacobian = self._derivatives(terms / terms.sum(axis=0))
        lengths = np.linalg.norm(jacobian, axis=1, keepdims=True).clip(1e-300)
        return int(np.linalg.matrix_rank(jacobian / lengths, rtol=1e-6))

    def centred(self, points: Floats) -> Floats:
        """Points (log A, log B, log E, alpha, beta) in this objective's coordinates; ... 5 -> ... 5."""
        moved = np.array(points, dtype=float)
        moved[..., :2] -= moved[..., 3:] * self.shift
        return moved

    def law(self, point: Floats, source: str) -> ScalingLaw:
        """The law at a point."""
        a, b = np.exp(point[:2] + point[3:] * self.shift)
        return ScalingLaw(float(np.exp(point[2])), float(a), float(b), float(point[3]), float(point[4]), source)
