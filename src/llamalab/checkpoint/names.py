"""What the same tensor is called, and how it is laid out, in our files, Meta's, and Hugging Face's.

Ours are Meta's names. Rotary pairs are adjacent channels (2i, 2i+1) in Meta's layout and the halves (i, i + d/2) of a
head in Hugging Face's, so rows of the query and key projections change places (transformers,
`convert_llama_weights_to_hf.py`).
"""

import re

from torch import Tensor

OUTSIDE = {
    "tok_embeddings.weight": "model.embed_tokens.weight",
    "norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
INSIDE = {
    "attention.wq": "self_attn.q_proj",
    "attention.wk": "self_attn.k_proj",
    "attention.wv": "self_attn.v_proj",
    "attention.wo": "self_attn.o_proj",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w2": "mlp.down_proj",
    "feed_forward.w3": "mlp.up_proj",
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
OUR_OUTSIDE = {theirs: ours for ours, theirs in OUTSIDE.items()}
OUR_INSIDE = {theirs: ours for ours, theirs in INSIDE.items()}
ROTATED = re.compile(r"layers\.\d+\.attention\.w[qk]\.(weight|bias)")

# Along which dimension Meta's model-parallel shards are cut; norms are in every shard whole.
SHARD_DIMENSIONS = {
    "tok_embeddings": 1,
    "attention.wq": 0,
    "attention.wk": 0,
    "attention.wv": 0,
    "attention.wo": 1,
    "feed_forward.w1": 0,
    "feed_forward.w2": 1,
    "feed_forward.w3": 0,
    "output": 0,
}


def to_hugging_face(name: str) -> str:
    """Hugging Face's name of our tensor."""
    if name in OUTSIDE:
        return OUTSIDE[name]
    match = re.fullmatch(r"layers\.(\d+)\.(.+)\.(weight|bias)", name)
    assert match is not None, name
    return f"model.layers.{match[1]}.{INSIDE[match[2]]}.{match[3]}"


def from_hugging_face(name: str) -> str | None:
    """Our name of Hugging Face's tensor; None for one that is not LLaMA's."""
    if name in OUR_OUTSIDE:
        return OUR_OUTSIDE[name]
    match = re.fullmatch(r"model\.layers\.(\d+)\.(.+)\.(weight|bias)", name)
    if match is None or match[2] not in OUR_INSIDE:
        return None
    return f"layers.{match[1]}.{OUR_INSIDE[match[2]]}.{match[3]}"


def shard_dimension(name: str) -> int | None:
    """Along which dimension Meta cuts our tensor; None if every shard has it whole."""
    module = name.rpartition(".")[0]
    return SHARD_DIMENSIONS.get(re.sub(r"^layers\.\d+\.", "", module))


def halves_to_pairs(tensor: Tensor, head_dim: int) -> Tensor:
    """Rows of a query or key projection (H d, or H d by D) from Hugging Face's order to ours."""
    return tensor.unflatten(0, (-1, 2, head_dim // 2)).transpose(1, 2).flatten(0, 2)


def pairs_to_halves(tensor: Tensor, head_dim: int) -> Tensor:
    """The inverse of `halves_to_pairs`."""
    return tensor.unflatten(0, (-1, head_dim // 2, 2)).transpose(1, 2).flatten(0, 2)
