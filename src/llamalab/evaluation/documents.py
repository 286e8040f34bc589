"""Held-out documents, as the data room leaves them: one JSONL.zst file per source."""

import io
import json
from dataclasses import dataclass
from pathlib import Path

import zstandard

from llamalab.common.errors import UserError

SUFFIX = ".jsonl.zst"


@dataclass(frozen=True)
class Document:
    """One held-out document: its id within the source, and its text."""

    id: str
    text: str


def domain_files(folder: Path) -> dict[str, Path]:
    """The validation file of each domain, by the domain's name, in alphabetical order.

    Raises:
        UserError: the folder is missing or holds no documents.
    """
    files = {path.name.removesuffix(SUFFIX): path for path in sorted(folder.glob(f"*{SUFFIX}"))}
    if not files:
        raise UserError(
            f"{folder}: no held-out documents (*{SUFFIX}) there; run `llamalab data` or set artifacts_dir=<folder>"
        )
    return files


def read_documents(path: Path) -> list[Document]:
    """Every document of one file, sorted by id, so that what is built from them ignores the file's order.

    Raises:
        UserError: the file is empty, damaged, or a line lacks `id` or `text`.
    """
    documents = []
    with path.open("rb") as file:
        reader = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), encoding="utf-8")
        try:
            for line in reader:
                row = json.loads(line)
                documents.append(Document(id=str(row["id"]), text=str(row["text"])))
        except (zstandard.ZstdError, json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
            where = f"line {len(documents) + 1}"
            raise UserError(f"{path}: {where} is not a document ({error!r}); repeat `llamalab data`") from None
    if not any(document.text.strip() for document in documents):
        raise UserError(f"{path}: holds no text; repeat `llamalab data`")
    return sorted(documents, key=lambda document: document.id)
