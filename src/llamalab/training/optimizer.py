"""AdamW as in the paper (section 2.3), with the tensors that are exempt from weight decay declared.

The paper gives betas 0.9 and 0.95, weight decay 0.1 and clipping at 1.0, but neither epsilon nor which tensors
are exempt. Here matrices decay; embeddings, norm gains and biases do not, since pulling them to zero changes the
function's scale rather than its complexity.
"""

import torch
from torch import nn


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Two parameter groups: matrices of linear layers (decayed) and everything else (not)."""
    embeddings = {id(p) for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    decayed: list[nn.Parameter] = []
    exempt: list[nn.Parameter] = []
    for parameter in model.parameters():
        matrix = parameter.ndim >= 2 and id(parameter) not in embeddings
        (decayed if matrix else exempt).append(parameter)
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": exempt, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


class AdamW:
    """Builds the optimizer of a model: `AdamW(...)(model)`.

    Args:
        lr: peak learning rate, reached at the end of warmup.
        betas: decay rates of the two moments.
        eps: added to the root of the second moment.
        weight_decay: decoupled decay of the decayed group, multiplied by the current learning rate.
        fused: torch's fused kernel; the same mathematics in one pass over memory.
    """

    def __init__(self, lr: float, betas: tuple[float, float], eps: float, weight_decay: float, fused: bool) -> None:
        if lr <= 0:
            raise ValueError(f"optimizer.lr: {lr} must be positive")
        self.lr, self.betas, self.eps, self.weight_decay, self.fused = lr, betas, eps, weight_decay, fused

    def __call__(self, model: nn.Module) -> torch.optim.AdamW:
        groups = decay_groups(model, self.weight_decay)
        beta1, beta2 = self.betas
        return torch.optim.AdamW(groups, lr=self.lr, betas=(beta1, beta2), eps=self.eps, fused=self.fused)
