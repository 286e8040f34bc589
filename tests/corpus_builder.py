"""A tiny corpus as `llamalab data` leaves one: made-up text, a tokenizer of 512 pieces, token shards, a config."""

import io
import random
from dataclasses import dataclass
from pathlib import Path

import sentencepiece
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from llamalab.common.configs import repository_folder
from llamalab.common.files import sha256_file
from llamalab.common.hydra_app import register_resolvers
from llamalab.data.token_shards import ShardWriter

VOCABULARY = 512
SAMPLING = {"prose": 60, "code": 30, "verse": 10}
SYLLABLES = [onset + vowel for onset in ("b", "ch", "d", "fr", "g", "l", "m", "n", "p", "st", "t") for vowel in "aeiou"]

# A model and a budget that train in about a second; two validations, several checkpoints, log windows of two steps
# that straddle the checkpoints.
TINY = {
    "scale": "smoke",
    "scale.name": "tiny",
    "scale.dim": 32,
    "scale.n_layers": 2,
    "scale.n_heads": 2,
    "scale.multiple_of": 8,
    "scale.seq_len": 32,
    "scale.vocab_size": VOCABULARY,
    "scale.tokens": 40 * 256,
    "scale.batch_tokens": 256,
    "scale.warmup_tokens": 5 * 256,
    "scale.lr": 0.003,
    "scale.eval_every_tokens": 20 * 256,
    "scale.eval_tokens": 1000,
    "scale.checkpoint_every_tokens": 7 * 256,
    "trainer.log_every_steps": 2,
    "trainer.precision": "32-true",
    "trainer.matmul_precision": "highest",
    "trainer.threads": 1,
    "trainer.progress": "none",
    "logger": "none",
}


@dataclass(frozen=True)
class TinyCorpus:
    """Where the corpus lies, and how a command line names it.

    Args:
        folder: holds `tokenizer.model`, `tokens/<source>/{train,validation}/` and `conf/data/tiny.yaml`.
    """

    folder: Path

    @property
    def config_dir(self) -> Path:
        """For Hydra's --config-dir; holds the choice `data=tiny`."""
        return self.folder / "conf"

    @property
    def tokenizer(self) -> Path:
        """The SentencePiece model."""
        return self.folder / "tokenizer.model"

    @property
    def tokens(self) -> Path:
        """The token shards."""
        return self.folder / "tokens"

    def config(self, **changes: object) -> DictConfig:
        """The composed config that those arguments give; `run_dir` is made up."""
        return compose_train(f"hydra.searchpath=[file://{self.config_dir}]", *self.overrides(**changes)[1:])

    def overrides(self, **changes: object) -> list[str]:
        """Arguments of `llamalab train` for a tiny run; `changes` are given with __ for the dots of a key.

        A choice that other overrides refer into (scale, logger) keeps its place in front of them.
        """
        chosen = {"data": "tiny", **TINY} | {key.replace("__", "."): value for key, value in changes.items()}
        return [f"--config-dir={self.config_dir}", *(f"{key}={value}" for key, value in chosen.items())]


STUDY_HEAD = """# @package _global_
defaults:
  - /protocol: standard
  - _self_
  - override /hydra/launcher: basic
"""
TWO_SEEDS = {"seeds": [0, 1], "baseline_seeds": [0, 1], "learning_rate": None}
# Studies that are small enough for tests; the project's own are in experiments/.
STUDIES = {
    "three": {
        "name": "position",
        "question": "Which of three?",
        "baseline": "rope",
        "arms": {arm: [f"position={arm}"] for arm in ("rope", "learned", "none")},
        "family": ["learned"],
        **TWO_SEEDS,
    },
    "two": {
        "name": "norm",
        "question": "Which of two?",
        "baseline": "rmsnorm",
        "arms": {arm: [f"norm={arm}"] for arm in ("rmsnorm", "layernorm")},
        "family": ["layernorm"],
        **TWO_SEEDS,
    },
    "swept": {
        "name": "swept",
        "question": "Which of two, each at its best learning rate?",
        "baseline": "rope",
        "arms": {arm: [f"position={arm}"] for arm in ("rope", "learned")},
        "family": ["learned"],
        "seeds": [0, 1],
        "baseline_seeds": [0, 1, 2],
        "learning_rate": {"factors": [0.25, 0.5, 1, 2, 4], "seeds": [1000], "max_points": 7},
    },
}


def compose_train(*overrides: str) -> DictConfig:
    """conf/train.yaml with overrides, outside of a Hydra application."""
    register_resolvers()
    with initialize_config_dir(str(repository_folder("conf")), version_base="1.3"):
        return compose("train", [*overrides, "run_dir=somewhere"])


def words(generator: random.Random, count: int) -> list[str]:
    """Made-up words of one to three syllables."""
    return ["".join(generator.choices(SYLLABLES, k=generator.randint(1, 3))) for _ in range(count)]


def document(generator: random.Random, domain: str, common: list[str]) -> str:
    """A few hundred characters whose words repeat, with the punctuation and line lengths of its domain."""
    chosen = common + words(generator, 10) * 3
    shortest, longest, end = {"prose": (7, 14, ". "), "code": (2, 4, "()\n    "), "verse": (4, 6, ",\n")}[domain]
    lines = (" ".join(generator.choices(chosen, k=generator.randint(shortest, longest))) for _ in range(20))
    return "".join(line + end for line in lines)


def train_tokenizer(texts: list[str]) -> bytes:
    """A SentencePiece model with LLaMA's flags."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(line for text in texts for line in text.splitlines()),
        model_writer=model,
        vocab_size=VOCABULARY,
        model_type="bpe",
        split_digits=True,
        byte_fallback=True,
        normalization_rule_name="identity",
        add_dummy_prefix=True,
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    return model.getvalue()


def write_shards(
    folder: Path, documents: list[list[int]], tokenizer: Path, text_bytes: list[int], vocab_size: int
) -> None:
    """One split of one source; `folder` is `tokens/<source>/<split>`."""
    folder.mkdir(parents=True)
    # small shards, so that reading crosses from one file into the next
    writer = ShardWriter(folder, vocab_size, shard_tokens=4_000)
    for ids, size in zip(documents, text_bytes, strict=True):
        writer.add(ids, size)
    writer.close(tokenizer_sha256=sha256_file(tokenizer), source=folder.parent.name, split=folder.name)


def write_data_config(folder: Path, sampling: dict[str, int]) -> None:
    """`conf/data/tiny.yaml` of the corpus in `folder`."""
    module = {
        "_target_": "llamalab.data.datamodule.MixtureDataModule",
        "tokens_folder": str(folder / "tokens"),
        "tokenizer": str(folder / "tokenizer.model"),
        "sampling": sampling,
        "empty_slots": {},
        "seq_len": "${scale.seq_len}",
        "tokens": "${scale.tokens}",
        "batch_tokens": "${scale.batch_tokens}",
        "micro_batch": "${scale.micro_batch}",
        "eval_tokens": "${scale.eval_tokens}",
        "seed": "${seed}",
        "verify_hashes": True,
    }
    (folder / "conf/data").mkdir(parents=True)
    (folder / "conf/experiments").mkdir()
    for name, study in STUDIES.items():
        (folder / f"conf/experiments/{name}.yaml").write_text(
            STUDY_HEAD + yaml.safe_dump({"study": study}, sort_keys=False)
        )
    (folder / "conf/data/tiny.yaml").write_text(yaml.safe_dump({"name": "tiny", "module": module}))


def build_corpus(folder: Path) -> TinyCorpus:
    """Three domains, 40 training and 6 validation documents each."""
    generator = random.Random(0)
    common = words(generator, 60)
    texts = {domain: [document(generator, domain, common) for _ in range(46)] for domain in SAMPLING}
    tokenizer = folder / "tokenizer.model"
    tokenizer.write_bytes(train_tokenizer([text for domain in texts.values() for text in domain[:40]]))
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer))
    for domain, all_texts in texts.items():
        for split, part in {"train": all_texts[:40], "validation": all_texts[40:]}.items():
            ids = [[pieces.bos_id(), *pieces.encode(text), pieces.eos_id()] for text in part]
            write_shards(
                folder / "tokens" / domain / split, ids, tokenizer, [len(text.encode()) for text in part], VOCABULARY
            )
    write_data_config(folder, SAMPLING)
    return TinyCorpus(folder)
