"""One tokenizer for all tests of the room; tiny models are fastest on one thread."""

from pathlib import Path

import pytest
import torch
from evaluation_builders import documents, train_tokenizer

from llamalab.checkpoint.tokenizer import Tokenizer


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tokenizer_bytes() -> bytes:
    rows = documents("prose", 30, 40) + documents("code", 10, 40)
    return train_tokenizer("\n".join(str(row["text"]) for row in rows))


@pytest.fixture(scope="session")
def tokenizer(tokenizer_bytes: bytes) -> Tokenizer:
    return Tokenizer(tokenizer_bytes, "test")


@pytest.fixture(scope="session")
def tokenizer_folder(tokenizer_bytes: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    (folder / "tokenizer.model").write_bytes(tokenizer_bytes)
    return folder
