"""How wide the weights are drawn."""

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class NormalInitialisation:
    """Every weight from N(0, std²); norms start as the identity.

    LLaMA's own initialisation was never published. The default here is GPT-NeoX's for the same architecture: a spread
    that follows the width, sqrt(2 / (5 dim)) (Nguyen and Salazar 2019, section 2.2), so that one rule serves dim 64
    and dim 8192. GPT-2's fixed 0.02 is right for a dim of some 1000 only: at dim 64 it leaves a model near its
    unigram plateau for a time that depends on the seed (docs/log.md).

    Projections that write to the residual stream (attention output, feed-forward output) are narrower by
    1/sqrt(2 n_layers), so that the stream's variance does not grow with depth (Radford et al. 2019, section 2.3).

    Args:
        std: standard deviation of all other weights; None for sqrt(2 / (5 dim)).
        scale_residual: whether to narrow the projections that write to the residual stream.
    """

    std: float | None
    scale_residual: bool

    def spreads(self, dim: int, n_layers: int) -> tuple[float, float]:
        """Standard deviation of the weights, and of the two projections of each block that write to the stream."""
        std = math.sqrt(2 / (5 * dim)) if self.std is None else self.std
        return std, std / math.sqrt(2 * n_layers) if self.scale_residual else std
