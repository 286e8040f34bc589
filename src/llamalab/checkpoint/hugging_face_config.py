"""Hugging Face's config.json of a LLaMA, key by key, into our model config. What we do not compute is refused.

The keys and their meaning are those of transformers' `LlamaConfig`, versions 4 (`rope_theta`, `rope_scaling`) and 5
(`rope_parameters`).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llamalab.checkpoint.architecture import model_config
from llamalab.common.configs import check_type, closest
from llamalab.common.errors import UserError

REQUIRED: dict[str, Any] = {
    "vocab_size": int,
    "hidden_size": int,
    "intermediate_size": int,
    "num_hidden_layers": int,
    "num_attention_heads": int,
}
# With the value that transformers takes where the key is missing.
OPTIONAL: dict[str, tuple[Any, Any]] = {
    "num_key_value_heads": (int | None, None),
    "head_dim": (int | None, None),
    "max_position_embeddings": (int, 2048),
    "rms_norm_eps": (float, 1e-6),
    "tie_word_embeddings": (bool, False),
    "attention_bias": (bool, False),
    "mlp_bias": (bool, False),
    "original_max_position_embeddings": (int | None, None),
    "rope_theta": (float | None, None),
    "rope_scaling": (dict[str, Any] | None, None),
    "rope_parameters": (dict[str, Any] | None, None),
    "partial_rotary_factor": (float | None, None),
}
# The one value that these may have: with another, the model is not the one we compute.
FIXED: dict[str, Any] = {
    "model_type": "llama",
    "hidden_act": "silu",
    "is_encoder_decoder": False,
    "add_cross_attention": False,
    "tie_encoder_decoder": False,
    "cross_attention_hidden_size": None,
    "rope_interleaved": False,
    "sliding_window": None,
    "use_sliding_window": False,
    "quantization_config": None,
    "auto_map": None,
    "pruned_heads": {},
}
# Keys that change no logit of a model that is not trained: training, generation, classification, housekeeping.
INERT = {
    *("architectures", "torch_dtype", "dtype", "transformers_version", "_name_or_path", "name_or_path", "_commit_hash"),
    *("use_cache", "pad_token_id", "bos_token_id", "eos_token_id", "sep_token_id", "decoder_start_token_id", "prefix"),
    *("initializer_range", "attention_dropout", "hidden_dropout", "pretraining_tp", "tokenizer_class", "is_decoder"),
    *("max_sequence_length", "is_llama_config", "unsloth_fixed", "unsloth_version", "use_flash_attn", "torchscript"),
    *("_attn_implementation", "attn_implementation", "_attn_implementation_autoset", "_flash_attn_2_enabled"),
    *("return_dict", "output_attentions", "output_hidden_states", "use_bfloat16", "chunk_size_feed_forward"),
    *(
        "problem_type",
        "finetuning_task",
        "id2label",
        "label2id",
        "num_labels",
        "task_specific_params",
        "tf_legacy_loss",
    ),
    *("max_length", "min_length", "do_sample", "early_stopping", "num_beams", "num_beam_groups", "diversity_penalty"),
    *("temperature", "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty", "no_repeat_ngram_size"),
    *("encoder_no_repeat_ngram_size", "bad_words_ids", "num_return_sequences", "output_scores", "suppress_tokens"),
    *("return_dict_in_generate", "forced_bos_token_id", "forced_eos_token_id", "remove_invalid_values"),
    *("exponential_decay_length_penalty", "begin_suppress_tokens", "tf_legacy_loss"),
}
ARCHITECTURE = "llamaforcausallm"  # LLaMAForCausalLM in the first conversions


@dataclass(frozen=True)
class Scaling:
    """One `rope_type`: our choice in conf/position, its keys there by transformers' names, and those it must have."""

    position: str
    keys: dict[str, str]
    required: tuple[str, ...] = ("factor",)


SCALINGS = {
    "default": Scaling("rope", {}, ()),
    "linear": Scaling("rope_pi", {"factor": "factor"}),
    "dynamic": Scaling("rope_dynamic", {"factor": "factor"}),
    "llama3": Scaling(
        "rope_llama3",
        {
            "factor": "factor",
            "low_freq_factor": "low_freq_factor",
            "high_freq_factor": "high_freq_factor",
            "original_max_position_embeddings": "original_seq_len",
        },
        ("factor", "low_freq_factor", "high_freq_factor"),
    ),
    "yarn": Scaling(
        "rope_yarn",
        {
            "factor": "factor",
            "beta_fast": "beta_fast",
            "beta_slow": "beta_slow",
            "attention_factor": "attention_factor",
            "mscale": "mscale",
            "mscale_all_dim": "mscale_all_dim",
            "truncate": "truncate",
            "original_max_position_embeddings": "original_seq_len",
        },
    ),
}
EVERY_SCALING = {"rope_type", "type", "rope_theta", "partial_rotary_factor"}
THETA = 10_000.0  # transformers' default


def read_model_config(config: dict[str, Any], path: Path) -> dict[str, Any]:
    """Our model config of a `config.json`.

    Args:
        config: its content.
        path: of the file, for messages.

    Raises:
        UserError: a missing, unknown or unsupported key, named.
    """
    values = _checked(config, path)
    position, settings = _position(values, path)
    return model_config(
        position,
        {
            "scale.vocab_size": values["vocab_size"],
            "scale.dim": values["hidden_size"],
            "scale.n_layers": values["num_hidden_layers"],
            "scale.n_heads": values["num_attention_heads"],
            "scale.n_kv_heads": values["num_key_value_heads"],
            "scale.seq_len": values["max_position_embeddings"],
            "scale.tied_embeddings": values["tie_word_embeddings"],
            "model.head_dim": values["head_dim"],
            "norm.eps": values["rms_norm_eps"],
            "feed_forward.width": values["intermediate_size"],
            "feed_forward.bias": values["mlp_bias"],
            "attention.bias": values["attention_bias"],
            **{f"position.{key}": value for key, value in settings.items()},
        },
    )


def _checked(config: dict[str, Any], path: Path) -> dict[str, Any]:
    values: dict[str, Any] = {key: default for key, (_, default) in OPTIONAL.items()}
    for name in config.get("architectures") or []:
        if str(name).lower() != ARCHITECTURE:
            raise UserError(f"{path}: architectures: {name} is not supported, only LlamaForCausalLM")
    for key, value in config.items():
        if key in REQUIRED or key in OPTIONAL:
            kind = REQUIRED[key] if key in REQUIRED else OPTIONAL[key][0]
            if kind == float | None or kind is float:
                value = float(value) if type(value) is int else value
            check_type(f"{path}: {key}", value, kind)
            values[key] = value
        elif key in FIXED:
            if value is not None and value != FIXED[key]:
                raise UserError(f"{path}: {key}: {value!r} is not supported, only {FIXED[key]!r}")
        elif key not in INERT and value is not None:
            known = [*REQUIRED, *OPTIONAL, *FIXED]
            raise UserError(f"{path}: {key}: {value!r} is not supported; not known what it does{_near(key, known)}")
    for key in (*REQUIRED, "model_type"):
        if key not in config:
            raise UserError(f"{path}: {key}: missing, so this is not the config of a LLaMA")
    return values


def _near(key: str, known: list[str]) -> str:
    suggestion = closest(key, known)
    return suggestion if suggestion.startswith("; did") else ""


def _position(values: dict[str, Any], path: Path) -> tuple[str, dict[str, Any]]:
    """The position choice and its settings, transformers' order of precedence."""
    place = "rope_scaling" if values["rope_scaling"] else "rope_parameters"
    parameters = values[place] or {}
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    if kind not in SCALINGS:
        raise UserError(f"{path}: {place}.rope_type: '{kind}' is not supported{closest(str(kind), SCALINGS)}")
    scaling = SCALINGS[kind]
    for key, value in parameters.items():
        if key not in EVERY_SCALING and key not in scaling.keys and value is not None:
            raise UserError(f"{path}: {place}.{key}: {value!r} is not supported with rope_type '{kind}'")
    for factor in (values["partial_rotary_factor"], parameters.get("partial_rotary_factor")):
        if factor not in (None, 1):
            raise UserError(f"{path}: partial_rotary_factor: {factor} is not supported, only 1")
    for key in scaling.required:
        if parameters.get(key) is None:
            raise UserError(f"{path}: {place}.{key}: missing; rope_type '{kind}' needs it")
    theta = next((x for x in (parameters.get("rope_theta"), values["rope_theta"]) if x is not None), THETA)
    given = {ours: parameters.get(theirs) for theirs, ours in scaling.keys.items()}
    settings = {key: value for key, value in given.items() if value is not None}
    for key, value in settings.items():
        if type(value) is int and key != "original_seq_len":
            settings[key] = float(value)
    if "original_seq_len" in scaling.keys.values():
        settings["original_seq_len"] = (
            values["original_max_position_embeddings"]
            or settings.get("original_seq_len")
            or values["max_position_embeddings"]
        )
    return scaling.position, {"theta": float(theta), **settings}
