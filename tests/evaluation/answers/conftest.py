"""The benchmarks' real files, where they are at hand."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def benchmarks() -> Path:
    """The folder of real benchmark files; skips, and says so, where there is none."""
    root = Path(os.environ.get("LLAMALAB_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (root / "benchmarks").is_dir():
        pytest.skip(f"needs the real benchmark files in {root / 'benchmarks'}")
    return root / "benchmarks"
