"""What other formats need to know of a model, if it is a LLaMA: they have one choice on each of our axes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llamalab.checkpoint.architecture import empty_model
from llamalab.common.errors import UserError
from llamalab.model.attention import Attention
from llamalab.model.feed_forward import SwiGLU
from llamalab.model.position import RotaryPosition

AXES = {
    "norm": ("llamalab.model.norm.RMSNorm",),
    "norm_placement": ("llamalab.model.norm_placement.PreNorm",),
    "feed_forward": ("llamalab.model.feed_forward.SwiGLU",),
    "attention": ("llamalab.model.attention.Attention",),
    "position": (
        "llamalab.model.position.RotaryPosition",
        "llamalab.model.position_scaled.InterpolatedRotaryPosition",
        "llamalab.model.position_scaled.NTKRotaryPosition",
        "llamalab.model.position_scaled.DynamicNTKRotaryPosition",
        "llamalab.model.position_scaled.Llama3RotaryPosition",
        "llamalab.model.position_scaled.YarnRotaryPosition",
    ),
}


@dataclass(frozen=True)
class LlamaParts:
    """The sizes and settings of a LLaMA, with everything that our config leaves to be derived.

    Attributes:
        theta: base of the rotary frequencies, NTK-aware scaling included.
        scaling: the name of the position class, without its module, and its settings.
    """

    vocab_size: int
    dim: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    width: int
    multiple_of: int
    max_seq_len: int
    norm_eps: float
    tied_embeddings: bool
    attention_bias: bool
    feed_forward_bias: bool
    theta: float
    scaling: str
    scaling_settings: Mapping[str, Any]


def llama_parts(model: Mapping[str, Any], where: object) -> LlamaParts:
    """The parts of a model config.

    Raises:
        UserError: the model is no LLaMA; names the axis.
    """
    for axis, targets in AXES.items():
        target = model[axis]["_target_"]
        if target not in targets:
            name = str(target).rpartition(".")[2]
            raise UserError(f"{where}: {axis}: {name} cannot be said in other formats; only LLaMA's choice can")
    built = empty_model(model, where)
    attention, feed_forward = (built.layers[0].get_submodule(name) for name in ("attention", "feed_forward"))
    assert isinstance(attention, Attention)
    assert isinstance(feed_forward, SwiGLU)
    assert isinstance(built.position, RotaryPosition)
    position = model["position"]
    return LlamaParts(
        vocab_size=built.vocab_size,
        dim=built.dim,
        n_layers=len(built.layers),
        n_heads=model["n_heads"],
        n_kv_heads=attention.n_kv_heads,
        head_dim=attention.head_dim,
        width=feed_forward.width,
        multiple_of=model["multiple_of"],
        max_seq_len=built.max_seq_len,
        norm_eps=model["norm"]["eps"],
        tied_embeddings=model["tied_embeddings"],
        attention_bias=model["attention"]["bias"],
        feed_forward_bias=model["feed_forward"]["bias"],
        theta=float(built.position.theta),
        scaling=str(position["_target_"]).rpartition(".")[2],
        scaling_settings={key: value for key, value in position.items() if not key.startswith("_")},
    )
