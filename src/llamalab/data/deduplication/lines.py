"""Line deduplication, as CCNet does it for the paper's CommonCrawl (Wenzek et al. 2020)."""

import hashlib
import re
from collections import Counter
from collections.abc import Callable

from llamalab.data.documents import Document
from llamalab.data.text import tidy

SPACE_AND_DIGITS = re.compile(r"[\s\d]+")


def line_key(line: str, characters: int) -> bytes | None:
    """A line's hash, lower case and without digits and spaces; None if that leaves fewer than `characters`."""
    normalised = SPACE_AND_DIGITS.sub("", line.lower())
    if len(normalised) < characters:
        return None
    return hashlib.blake2b(normalised.encode(), digest_size=8).digest()


def keep_lines(documents: list[Document], keep: Callable[[str], bool]) -> list[Document]:
    """The documents with the lines that `keep` wants; those that lose every line are dropped."""
    result = []
    for document in documents:
        lines = document.text.split("\n")
        left = [line for line in lines if keep(line)]
        text = document.text if len(left) == len(lines) else tidy("\n".join(left))
        if text:
            result.append(document.with_text(text))
    return result


class RepeatedLines:
    """Removes lines found in many documents of the source: menus, banners, footers.

    Args:
        documents: in how many different documents a line must stand to be boilerplate.
        characters: shorter lines stay, since a closing bracket or a common heading is no boilerplate.
    """

    name = "repeated lines"

    def __init__(self, documents: int, characters: int) -> None:
        self.documents, self.characters = documents, characters

    def __call__(self, documents: list[Document]) -> list[Document]:
        found = Counter(
            key
            for document in documents
            for key in {line_key(line, self.characters) for line in document.text.split("\n")}
        )
        repeated = {key for key, count in found.items() if key is not None and count >= self.documents}
        return keep_lines(documents, lambda line: line_key(line, self.characters) not in repeated)


class DuplicateLines:
    """Keeps the first of equal lines of a source and removes the others, wherever they are.

    Args:
        characters: shorter lines stay.
    """

    name = "duplicate lines"

    def __init__(self, characters: int) -> None:
        self.characters = characters

    def __call__(self, documents: list[Document]) -> list[Document]:
        seen: set[bytes] = set()

        def is_first(line: str) -> bool:
            key = line_key(line, self.characters)
            if key is None:
                return True
            new = key not in seen
            seen.add(key)
            return new

        return keep_lines(documents, is_first)
