"""A small corpus on the disk with planted duplicates, and the config that reads it."""

import json
import random
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from llamalab.common.configs import repository_folder

WORDS = [
    onset + vowel + end
    for onset in ("b", "d", "fl", "gr", "k", "m", "n", "p", "s", "t", "v", "w")
    for vowel in ("a", "e", "i", "o", "u", "ai")
    for end in ("", "l", "n", "r", "st")
]
BOILERPLATE = "All pages of this site carry this very line about cookies and the newsletter."


def prose(seed: int, paragraphs: int = 6) -> str:
    """Made-up text that no other seed shares a five-gram with, for practical purposes."""
    generator = random.Random(seed)
    return "\n\n".join(" ".join(generator.choices(WORDS, k=60)).capitalize() + f" {seed}." for _ in range(paragraphs))


def planted() -> dict[str, list[str]]:
    """Documents by source: `news` has copies and a boilerplate line, `notes` shares near-copies with `news`."""
    news = [f"{BOILERPLATE}\n{prose(seed)}" for seed in range(30)]
    news += [news[3], news[4]]  # exact copies
    news.append(news[5].replace(" 5.", " 5. Updated."))  # a near copy
    notes = [prose(seed) for seed in range(100, 125)]
    notes += [prose(seed) + "\n\nReprinted from the news." for seed in range(10, 14)]  # near copies across sources
    return {"news": news, "notes": notes}


def source_config(folder: Path, **changes: Any) -> dict[str, Any]:
    """A source of JSONL documents in `folder`."""
    here = "llamalab.data"
    return {
        "_target_": f"{here}.source.Source",
        "origins": [
            {
                "_target_": f"{here}.origins.local_files.LocalFiles",
                "folder": str(folder),
                "include": ["*.jsonl"],
                "exclude": [],
                "lines": True,
                "licence": "CC0",
            }
        ],
        "extractor": {
            "_target_": f"{here}.extraction.json_articles.JsonArticles",
            "text_key": "text",
            "id_key": "id",
        },
        "cleaning": [{"_target_": f"{here}.rules.documents.MinimumLength", "characters": 20}],
        "deduplication": [
            {"_target_": f"{here}.deduplication.exact.ExactDocuments"},
            {"_target_": f"{here}.deduplication.lines.RepeatedLines", "documents": 10, "characters": 20},
            {"_target_": f"{here}.deduplication.near.NearDuplicates", "threshold": 0.8, "words": 5},
        ],
        "note": "made up.",
        **changes,
    }


def write_jsonl(path: Path, texts: list[str]) -> None:
    """One document a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"id": str(number), "text": text}) for number, text in enumerate(texts)]
    path.write_text("\n".join(lines) + "\n")


def data_config(overrides: list[str]) -> DictConfig:
    """conf/data.yaml, composed as the command line does."""
    with initialize_config_dir(str(repository_folder("conf").absolute()), version_base="1.3"):
        return compose("data", overrides=overrides)


def small_config(folder: Path, texts: dict[str, list[str]], **sources: dict[str, Any]) -> DictConfig:
    """The `data` verb's config over JSONL files of these texts, written below `folder`."""
    config = data_config([f"artifacts_dir={folder}/artifacts", "scale=smoke", "scale.vocab_size=384", "workers=1"])
    OmegaConf.set_struct(config, False)
    for name, documents in texts.items():
        write_jsonl(folder / name / "documents.jsonl", documents)
        sources.setdefault(name, source_config(folder / name))
    config.data.name = "small"
    config.data.sources = sources
    config.data.sampling = {name: 100.0 / 2**place for place, name in enumerate(sources)} | {"empty": 7.0}
    config.data.empty_slots = {"empty": "nothing there."}
    config.data.split.minimum_bytes = 2_000
    config.data.split.minimum_works = 3
    config.data.shard_tokens = 5_000
    return config
