"""Bytes to clean Unicode, for every extractor."""

import re

# Control characters except newline and tab, which have no place in text; U+2581 is SentencePiece's mark for a space
# and would be read as one; U+FEFF is a byte order mark.
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufeff]")
SPACE_MARK = "\u2581"


def decode(data: bytes) -> str:
    """UTF-8, or else Windows-1252 (a superset of Latin-1 in practice), as old archives have it."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def tidy(text: str, empty_lines: int = 1) -> str:
    """The same text with plain newlines, no control characters, no spaces at line ends, few empty lines in a row."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace(SPACE_MARK, " ")
    text = CONTROL.sub("", text).encode("utf-8", errors="replace").decode()
    text = re.sub(r"[ \t]+\n", "\n", text + "\n")
    longest = "\n" * (empty_lines + 1)
    return re.sub(f"{longest}\n+", longest, text).strip("\n")
