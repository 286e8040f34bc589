"""Tiny random checkpoints, tokenizers and held-out documents, as the other rooms leave them on disk."""

import io
import json
import random
from pathlib import Path

import sentencepiece
import torch
import zstandard
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from llamalab.checkpoint import native
from llamalab.common.files import write_text
from llamalab.model import Llama

CONF = Path(__file__).parents[2] / "conf"
VOCABULARY = 400
TINY = (
    "scale.dim=48",
    "scale.n_layers=2",
    "scale.n_heads=4",
    "scale.multiple_of=8",
    "scale.seq_len=48",
    f"scale.vocab_size={VOCABULARY}",
    # wide enough that logits differ clearly between tokens
    "model.initialisation.std=0.2",
)
SYLLABLES = [onset + vowel for onset in ("b", "ch", "d", "fr", "g", "l", "m", "n", "p", "st", "t") for vowel in "aeiou"]


def model_config(*overrides: str) -> DictConfig:
    """The model's part of a training config."""
    groups = {
        "scale": "smoke",
        "norm": "rmsnorm",
        "norm_placement": "pre",
        "feed_forward": "swiglu",
        "position": "rope",
        "attention": "multi_head",
        "model": "llama",
    }
    defaults = ["_self_", *({group: choice} for group, choice in groups.items())]
    ConfigStore.instance().store("evaluated_model", OmegaConf.create({"defaults": defaults}))
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("evaluated_model", [*TINY, *overrides])


def random_model(*overrides: str, seed: int = 0) -> Llama:
    """A seeded tiny model in evaluation mode."""
    torch.manual_seed(seed)
    return instantiate(model_config(*overrides).model).eval()


def words(generator: random.Random, count: int) -> list[str]:
    """Made-up words of two or three syllables."""
    return ["".join(generator.choices(SYLLABLES, k=generator.randint(2, 3))) for _ in range(count)]


def prose(seed: int, sentences: int, common: list[str]) -> str:
    """A document: sentences of common words and of a few words that only this document has."""
    generator = random.Random(seed)
    own = words(generator, 12)
    text = []
    for _ in range(sentences):
        chosen = generator.choices(common + own * 4, k=generator.randint(6, 14))
        text.append(" ".join(chosen).capitalize() + generator.choice([".", ".", "?", "!"]))
    return "".join(sentence + generator.choice([" ", " ", " ", "\n\n"]) for sentence in text).strip()


def code(seed: int, lines: int, common: list[str]) -> str:
    """A document of short lines without sentences, some of them indented."""
    generator = random.Random(seed)
    own = words(generator, 8)
    rows = []
    for _ in range(lines):
        name, other = generator.choices(common + own * 4, k=2)
        depth = generator.choice([0, 4, 4, 8])
        rows.append(" " * depth + f"{name} = {other}({generator.randint(0, 99)})")
    return "\n".join(rows)


def documents(kind: str, count: int, length: int) -> list[dict[str, object]]:
    """Rows as the data room writes them."""
    common = words(random.Random(kind), 150)
    make = {"prose": prose, "code": code}[kind]
    return [{"text": make(i, length, common), "id": f"{kind}{i}", "source": kind, "metadata": {}} for i in range(count)]


def write_documents(path: Path, rows: list[dict[str, object]]) -> None:
    """One JSONL.zst file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(zstandard.compress(lines.encode()))


def train_tokenizer(text: str, vocab_size: int = VOCABULARY) -> bytes:
    """A SentencePiece model with LLaMA's flags."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text.splitlines()),
        model_writer=model,
        vocab_size=vocab_size,
        model_type="bpe",
        split_digits=True,
        byte_fallback=True,
        normalization_rule_name="identity",
        add_dummy_prefix=True,
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        minloglevel=2,
    )
    return model.getvalue()


def write_run(run_dir: Path, tokenizer: bytes, *overrides: str, data: str = "corpus", seed: int = 0) -> Llama:
    """A run directory with one checkpoint of a random model, which is returned."""
    config = model_config(*overrides)
    torch.manual_seed(seed)
    model: Llama = instantiate(config.model).eval()
    resolved = OmegaConf.to_container(config, resolve=True)
    assert isinstance(resolved, dict)
    write_text(run_dir / "config.yaml", OmegaConf.to_yaml({"model": resolved["model"], "data": {"name": data}}))
    (run_dir / "tokenizer.model").write_bytes(tokenizer)
    target = native.step_directory(run_dir, 7)
    native.save(target, model.state_dict(), {}, {"step": 7, "tokens": 7_000})
    return model
