"""The same weights and tokenizer in our model and in transformers' LlamaForCausalLM, for benchmarks/evaluation.py."""

import io
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from transformers import LlamaConfig, LlamaForCausalLM

from llamalab.common.hydra_app import register_resolvers
from llamalab.model import Llama

CONF = Path(__file__).parents[1] / "conf"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
THEIR_NAMES = {
    "attention.wo": "self_attn.o_proj",
    "attention.wv": "self_attn.v_proj",
    "attention.wq": "self_attn.q_proj",
    "attention.wk": "self_attn.k_proj",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w2": "mlp.down_proj",
    "feed_forward.w3": "mlp.up_proj",
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "tok_embeddings": "model.embed_tokens",
    "output": "lm_head",
}


def random_model(shape: dict[str, int]) -> Llama:
    """A seeded LLaMA of this shape with weights wide enough that its predictions differ clearly."""
    register_resolvers()
    scale = [f"scale.{key}={value}" for key, value in shape.items()]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", [*scale, "run_dir=.", "model.initialisation.std=0.06"])
    torch.manual_seed(0)
    model: Llama = instantiate(config.model)
    return model.eval()


def twin_of(model: Llama, heads: int) -> LlamaForCausalLM:
    """transformers' LLaMA with the same weights; rows of wq and wk go from neighbouring pairs to halves."""
    first: Any = model.layers[0]
    config = LlamaConfig(
        vocab_size=model.vocab_size,
        hidden_size=model.dim,
        intermediate_size=first.feed_forward.width,
        num_hidden_layers=len(model.layers),
        num_attention_heads=heads,
        max_position_embeddings=model.max_seq_len,
        rms_norm_eps=first.attention_norm.eps,
        tie_word_embeddings=False,
    )
    state = {}
    for name, weight in model.state_dict().items():
        if ".wq." in name or ".wk." in name:
            weight = weight.unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2)
        for ours, theirs in THEIR_NAMES.items():
            name = name.replace(ours, theirs)
        state["model." + name if name.startswith(("layers", "norm")) else name] = weight
    twin = LlamaForCausalLM(config).eval()
    twin.load_state_dict(state)
    return twin


def train_tokenizer(texts: list[str], vocab_size: int) -> bytes:
    """A SentencePiece model with LLaMA's settings."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(dict.fromkeys(line for text in texts for line in text.splitlines())),
        model_writer=model,
        vocab_size=vocab_size,
        model_type="bpe",
        split_digits=True,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        max_sentence_length=1 << 16,
        minloglevel=2,
    )
    return model.getvalue()
