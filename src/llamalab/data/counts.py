"""What each rule took out of a source, for the audit."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from llamalab.data.documents import Document


@dataclass
class Size:
    """A number of documents and the UTF-8 bytes of their text."""

    documents: int = 0
    bytes: int = 0

    @classmethod
    def of(cls, documents: Iterable[Document]) -> "Size":
        size = cls()
        for document in documents:
            size.documents += 1
            size.bytes += document.bytes
        return size

    def add(self, other: "Size") -> None:
        self.documents += other.documents
        self.bytes += other.bytes


@dataclass
class Dropped:
    """By rule: documents dropped whole, and bytes of text removed (in whole documents or from kept ones)."""

    rules: dict[str, Size] = field(default_factory=dict)

    def count(self, rule: str, documents: int, size: int) -> None:
        self.rules.setdefault(rule, Size()).add(Size(documents, size))

    def merge(self, other: "Dropped") -> None:
        for rule, size in other.rules.items():
            self.count(rule, size.documents, size.bytes)

    def as_json(self) -> dict[str, dict[str, int]]:
        return {rule: {"documents": size.documents, "bytes": size.bytes} for rule, size in self.rules.items()}
