"""A document, and files of documents: JSONL compressed with Zstandard, one object a line (datatrove's fields)."""

import io
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import zstandard

from llamalab.common.errors import UserError
from llamalab.common.files import disk_errors, fsync_path

# Zstandard's default level; higher ones save a few percent and cost most of the stage's time.
LEVEL = 3


@dataclass(frozen=True, slots=True)
class Document:
    """A text with an identity.

    `metadata["work"]`, where it is set, names the work that the text is an edition or a part of: texts of one work
    always stay on one side of the train/validation split.
    """

    id: str
    text: str
    source: str
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """UTF-8 length of the text."""
        return len(self.text.encode())

    def with_text(self, text: str) -> "Document":
        return replace(self, text=text)


def write_documents(path: Path, documents: Iterable[Document]) -> None:
    """Replaces `path` atomically by these documents."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with disk_errors(path):
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                with zstandard.ZstdCompressor(level=LEVEL).stream_writer(file, closefd=False) as stream:
                    for document in documents:
                        stream.write(json.dumps(asdict(document), ensure_ascii=False).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        fsync_path(path.parent)


def read_documents(path: Path) -> Iterator[Document]:
    """The documents of a file in order. Raises UserError if it is missing, cut or not of this form."""
    try:
        with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as stream:
            for line in io.TextIOWrapper(stream, encoding="utf-8"):
                yield Document(**json.loads(line))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the earlier stages of `llamalab data`") from None
    except (zstandard.ZstdError, json.JSONDecodeError, UnicodeDecodeError, TypeError) as error:
        raise UserError(f"{path}: not a file of documents ({error}); delete it and run `llamalab data`") from None
