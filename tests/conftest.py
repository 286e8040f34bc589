"""Fixtures and options that several rooms share."""

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import absl.logging
import pytest
from corpus_builder import TinyCorpus, build_corpus
from filelock import FileLock
from hydra.core.global_hydra import GlobalHydra

# absl (lm-eval's rouge_score imports it) keeps the stderr it finds when it is imported, and closes it whenever logging
# is configured anew, unless it is the process' own. In a test it would find pytest's.
absl.logging.get_absl_handler().python_handler.stream = sys.__stderr__


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--kills 10`: repeat each kill test with ten different moments."""
    parser.addoption("--kills", type=int, default=1, help="how often the kill tests kill (default 1)")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with an argument `kill` runs once for each of `--kills`."""
    if "kill" in metafunc.fixturenames:
        metafunc.parametrize("kill", range(metafunc.config.getoption("--kills")))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests first: a process that has done its share takes over others' last ones, which are then quick."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_collection_finish() -> None:
    """What the tests' imports made stays to the end: the collector need not go through it again and again."""
    gc.freeze()


@pytest.fixture(autouse=True)
def _no_hydra_left_behind() -> Iterator[None]:
    """A command run in this process leaves its Hydra initialised, and `compose` in a later test refuses to start."""
    yield
    GlobalHydra.instance().clear()


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One temporary folder for all processes of this session (pytest-xdist starts several)."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def tiny_corpus(shared_folder: Path) -> TinyCorpus:
    """Tests that damage it copy it first."""
    folder = shared_folder / "tiny_corpus"
    with FileLock(f"{folder}.lock"):
        if not (folder / "conf").exists():  # what is written last
            folder.mkdir()
            build_corpus(folder)
    return TinyCorpus(folder)
