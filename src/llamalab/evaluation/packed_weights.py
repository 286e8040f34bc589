"""Weights in the order in which the CPU's matrix products read them."""

import torch
from torch import Tensor, nn

from llamalab.evaluation.batching import CPU_PASS
from llamalab.model.layers import Linear
from llamalab.model.llama import Llama


class PackedLinear(nn.Module):
    """A linear layer whose weight oneDNN has reordered once, instead of at each call.

    For float32 it also is the faster library on CPUs that are not Intel's. The numbers differ by rounding only.

    Args:
        linear: the layer whose place this takes; its weight is in float32 or bfloat16, on the CPU.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        # a buffer would be asked for its storage, which this layout does not have
        self.packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), CPU_PASS)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """x ... K to ... N."""
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")
        return product


def pack(model: Llama, device: torch.device, dtype: torch.dtype) -> None:
    """Packs the linear layers of the model's blocks where the device is a CPU that gains from it.

    Layers are packed one after the other and their weights let go, so that memory is not needed twice; the model can
    be read from then on, not trained or saved.
    """
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return
    if dtype != torch.float32 and not (dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        return
    for parent in list(model.layers.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Linear):
                setattr(parent, name, PackedLinear(child))
