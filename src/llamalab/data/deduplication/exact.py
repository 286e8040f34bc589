"""Documents with the same text."""

import hashlib

from llamalab.data.documents import Document


class ExactDocuments:
    """Keeps the first of documents with equal text (paper, section 2.1: exact match at file level)."""

    name = "exact duplicate"

    def __call__(self, documents: list[Document]) -> list[Document]:
        seen: set[bytes] = set()
        kept = []
        for document in documents:
            digest = hashlib.sha256(document.text.encode()).digest()
            if digest not in seen:
                seen.add(digest)
                kept.append(document)
        return kept
