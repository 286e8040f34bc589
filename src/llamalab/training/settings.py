"""What conf/trainer/*.yaml and conf/scale/*.yaml may say."""

from dataclasses import dataclass
from typing import Any, Literal, get_type_hints

from llamalab.common.configs import check_type, closest
from llamalab.common.errors import UserError


@dataclass(frozen=True)
class TrainerSettings:
    """How a run is executed. Every value comes from conf/trainer/*.yaml, where each is explained."""

    accelerator: Literal["auto", "cpu", "gpu"]
    devices: int
    num_nodes: int
    precision: Literal["32-true", "bf16-mixed", "bf16-true"]
    compile: bool
    initialisation: Literal["seeded", "meta"]
    clip_norm: float
    log_every_steps: int
    keep_checkpoints: int
    divergence_margin: float
    threads: int | None
    keep_freed_memory: bool
    matmul_precision: Literal["highest", "high", "medium"]
    progress: Literal["auto", "bar", "lines", "none"]

    def __post_init__(self) -> None:
        for key in ("devices", "num_nodes", "log_every_steps", "keep_checkpoints"):
            if getattr(self, key) < 1:
                raise ValueError(f"trainer.{key}: {getattr(self, key)} must be at least 1")


@dataclass(frozen=True)
class Scale:
    """The one dial: sizes, budget and cadences, each counted in tokens. conf/scale/*.yaml are its instances."""

    name: str
    dim: int
    n_layers: int
    n_heads: int
    n_kv_heads: int | None
    multiple_of: int
    seq_len: int
    vocab_size: int
    tied_embeddings: bool
    tokens: int
    batch_tokens: int
    micro_batch: int | None
    lr: float
    warmup_tokens: int
    eval_every_tokens: int
    eval_tokens: int
    checkpoint_every_tokens: int


def check_scale(scale: dict[str, Any]) -> None:
    """Raises UserError for an unknown key, a wrong type, or a size below 1. Groups refer to the scale's keys, so a
    mistake is named here, where the user made it."""
    hints = get_type_hints(Scale)
    for key, value in scale.items():
        if key not in hints:
            raise UserError(f"scale.{key}: unknown key{closest(key, hints)}")
        check_type(f"scale.{key}", value, hints[key])
        if type(value) is int and value < (0 if key == "warmup_tokens" else 1):
            raise UserError(f"scale.{key}: {value} is too small")
