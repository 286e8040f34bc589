"""The corpus that a config describes: its sources, its folders, its settings."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra.errors
import hydra.utils
from omegaconf import DictConfig

from llamalab.common.configs import check_targets, check_type, resolved
from llamalab.common.errors import UserError
from llamalab.data.mixture import renormalised
from llamalab.data.source import Source
from llamalab.data.tokenizer_training import SentencePieceTraining


@dataclass(frozen=True)
class SplitSettings:
    """How much is held out of each source: whichever of the three asks for most.

    Args:
        share: of a source's bytes.
        minimum_bytes: so that a small source still gives a steady validation loss.
        minimum_works: so that a source of few long texts is not judged by one of them.
        similarity: Jaccard similarity of word n-grams from which two documents must be on one side.
        words: n of the n-grams.
    """

    share: float
    minimum_bytes: int
    minimum_works: int
    similarity: float
    words: int

    def __post_init__(self) -> None:
        for key, value in (("share", self.share), ("similarity", self.similarity)):
            if not 0 < value < 1:
                raise UserError(f"data.split.{key}: {value} is not between 0 and 1")


@dataclass(frozen=True)
class Corpus:
    """Everything the stages need, as plain values; folders as the contract of the artifacts says."""

    name: str
    folder: Path
    tokenized: Path
    sources: dict[str, Source]
    source_configs: dict[str, Any]
    proportions: dict[str, float]
    empty_slots: dict[str, str]
    split: SplitSettings
    tokenizer: SentencePieceTraining
    tokenizer_config: dict[str, Any]
    shard_tokens: int
    scale_name: str
    budget: int
    workers: int | None

    @property
    def raw(self) -> Path:
        return self.folder / "raw"

    def extracted(self, source: str) -> Path:
        return self.folder / "extracted" / f"{source}.jsonl.zst"

    def deduplicated(self, source: str) -> Path:
        return self.folder / "deduplicated" / f"{source}.jsonl.zst"

    def part(self, split: str, source: str) -> Path:
        return self.folder / "split" / split / f"{source}.jsonl.zst"

    @property
    def split_stamp(self) -> Path:
        return self.folder / "split" / "split.json"

    @property
    def tokenizer_folder(self) -> Path:
        return self.tokenized / "tokenizer"

    def tokens(self, source: str) -> Path:
        return self.tokenized / "tokens" / source


def stamp_of(documents: Path) -> Path:
    """The stamp beside a file of documents."""
    return documents.with_name(documents.name.removesuffix(".jsonl.zst") + ".json")


def _build(node: dict[str, Any]) -> Any:
    """Instantiates a checked node; what a constructor finds wrong is the user's to read."""
    try:
        return hydra.utils.instantiate(node, _convert_="all")
    except hydra.errors.InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        raise


def corpus_from(config: DictConfig) -> Corpus:
    """Builds and checks the corpus of the `data` verb's config.

    The data module's node is left alone: it belongs to training, and loading it would load torch.

    Raises:
        UserError: whatever in the config cannot be used, before anything is fetched.
    """
    data = config.data
    source_configs = {name: resolved(node) for name, node in data.sources.items()}
    for name, node in source_configs.items():
        check_targets({f"data.sources.{name}": node})
    proportions = renormalised(resolved(data.sampling), resolved(data.empty_slots))
    for name in proportions.keys() - source_configs.keys():
        raise UserError(f"data.sampling.{name}: there is no data.sources.{name}; add it or name it in data.empty_slots")
    for name in source_configs.keys() - proportions.keys():
        raise UserError(f"data.sources.{name}: it has no proportion; add data.sampling.{name}")
    tokenizer = resolved(config.tokenizer)
    check_targets({"tokenizer": tokenizer})
    for key, value in {"workers": config.workers, "data.shard_tokens": data.shard_tokens}.items():
        check_type(key, value, int | None)
        if value is not None and value < 1:
            raise UserError(f"{key}: {value} is too small; give at least 1")
    return Corpus(
        name=data.name,
        folder=Path(data.folder),
        tokenized=Path(data.tokenized),
        sources={name: _build(source_configs[name]) for name in proportions},
        source_configs=source_configs,
        proportions=proportions,
        empty_slots=resolved(data.empty_slots),
        split=SplitSettings(**resolved(data.split)),
        tokenizer=_build(tokenizer),
        tokenizer_config=tokenizer,
        shard_tokens=data.shard_tokens,
        scale_name=config.scale.name,
        budget=config.scale.tokens,
        workers=config.workers,
    )
