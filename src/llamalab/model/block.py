"""One block of the Transformer: attention and feed-forward, each with its norm and residual connection."""

from torch import Tensor, nn

from llamalab.model.attention import Attention
from llamalab.model.cache import LayerMemory
from llamalab.model.norm_placement import NormPlacement
from llamalab.model.position import PositionContext


class Block(nn.Module):
    """Attention, then feed-forward, placed around their norms as `norm_placement` says."""

    def __init__(
        self,
        attention: Attention,
        feed_forward: nn.Module,
        attention_norm: nn.Module,
        ffn_norm: nn.Module,
        norm_placement: NormPlacement,
    ) -> None:
        super().__init__()
        self.attention = attention
        self.feed_forward = feed_forward
        self.attention_norm = attention_norm
        self.ffn_norm = ffn_norm
        self.norm_placement = norm_placement

    def forward(self, x: Tensor, context: PositionContext, cache: LayerMemory | None = None) -> Tensor:
        """The residual stream B T D through the block."""
        x = self.norm_placement(x, self.attention_norm, lambda y: self.attention(y, context, cache))
        return self.norm_placement(x, self.ffn_norm, self.feed_forward)
