"""Linear and embedding layers that know how they are initialised.

`reset_parameters` draws the weights again from the global random number generator, so the same code serves a
seeded initialisation on the CPU and one on the meta device that a sharding strategy materialises later.
"""

import torch
from torch import nn


class Linear(nn.Linear):
    """A projection, its weight drawn from N(0, std²), its bias (LLaMA has none) zero at first."""

    def __init__(self, in_features: int, out_features: int, std: float, bias: bool = False) -> None:
        self.std = std  # set first: nn.Linear's own constructor calls reset_parameters
        super().__init__(in_features, out_features, bias=bias)

    def reset_parameters(self) -> None:
        """Draws the weight again."""
        nn.init.normal_(self.weight, std=self.std)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class Embedding(nn.Embedding):
    """A table of vectors, drawn from N(0, std²)."""

    def __init__(self, count: int, dim: int, std: float) -> None:
        self.std = std  # set first: nn.Embedding's own constructor calls reset_parameters
        super().__init__(count, dim)

    def reset_parameters(self) -> None:
        """Draws the table again."""
        nn.init.normal_(self.weight, std=self.std)


def parameter_count(module: nn.Module) -> int:
    """Parameters of a module, shared ones counted once; works on the meta device."""
    return sum(parameter.numel() for parameter in module.parameters())


def parameter_device(module: nn.Module) -> torch.device:
    """The device that the module's first parameter lives on."""
    return next(module.parameters()).device
