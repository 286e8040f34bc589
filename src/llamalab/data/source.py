"""What a source is: origins that hold records, an extractor, rules. Every part is a class named in `conf/source/`."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from llamalab.data.documents import Document


@dataclass(frozen=True, slots=True)
class Record:
    """A unit of raw input small enough for memory: a member of an archive, a file, a line of JSON."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Extract:
    """What an extractor found in a record, before it becomes a document of a source."""

    id: str
    text: str
    metadata: dict[str, str]


class Origin(Protocol):
    """Where raw text comes from."""

    licence: str

    def fetch(self, raw: Path) -> list[Path]:
        """Makes sure the files are there and whole, and names them."""

    def records(self, raw: Path) -> Iterator[Record]:
        """The wanted records in a fixed order."""


class Extractor(Protocol):
    """Raw bytes to text."""

    def __call__(self, record: Record) -> list[Extract]:
        """The texts in a record; none where it holds no text worth keeping. A pure function."""


class DocumentRule(Protocol):
    """Changes or drops one document, looking at nothing else; so it runs on all cores."""

    name: str

    def __call__(self, document: Document) -> Document | None:
        """The document, changed or not, or None to drop it."""


class CorpusRule(Protocol):
    """Changes or drops documents by comparing them with the others of their source."""

    name: str

    def __call__(self, documents: list[Document]) -> list[Document]:
        """The documents that stay, in their order, changed or not."""


@dataclass(frozen=True)
class Source:
    """One slot of the mixture.

    Args:
        origins: where the text comes from; several may form one slot.
        extractor: raw bytes to text.
        cleaning: rules for single documents, in order.
        deduplication: rules that compare documents, in order.
        note: what a reader of the audit should know about it.
    """

    origins: list[Origin]
    extractor: Extractor
    cleaning: list[DocumentRule]
    deduplication: list[CorpusRule]
    note: str
