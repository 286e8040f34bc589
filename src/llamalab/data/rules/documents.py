"""Rules for single documents: they shorten a text or drop it."""

import re

from llamalab.common.errors import UserError
from llamalab.data.documents import Document
from llamalab.data.text import tidy

NOT_ALPHANUMERIC = re.compile(r"[\W_]+")


def compiled(patterns: list[str], flags: re.RegexFlag) -> list[re.Pattern[str]]:
    """Compiles patterns from a config. Raises UserError naming the one that is no regular expression."""
    result = []
    for pattern in patterns:
        try:
            result.append(re.compile(pattern, flags))
        except re.error as error:
            raise UserError(f"rule: '{pattern}' is not a regular expression ({error})") from None
    return result


class MinimumLength:
    """Drops texts of fewer characters."""

    name = "too short"

    def __init__(self, characters: int) -> None:
        self.characters = characters

    def __call__(self, document: Document) -> Document | None:
        return document if len(document.text) >= self.characters else None


class LineLength:
    """Drops files with a very long line or long lines on average: data and generated code (paper, section 2.1)."""

    name = "line length"

    def __init__(self, longest: int, mean: float) -> None:
        self.longest, self.mean = longest, mean

    def __call__(self, document: Document) -> Document | None:
        lengths = [len(line) for line in document.text.split("\n")]
        too_long = max(lengths) > self.longest or sum(lengths) / len(lengths) > self.mean
        return None if too_long else document


class AlphanumericProportion:
    """Drops files where too few characters are letters or digits: tables, data (paper, section 2.1)."""

    name = "alphanumeric proportion"

    def __init__(self, least: float) -> None:
        self.least = least

    def __call__(self, document: Document) -> Document | None:
        count = len(NOT_ALPHANUMERIC.sub("", document.text))
        return document if count >= max(1.0, self.least * len(document.text)) else None


class RemoveHeader:
    """Removes a licence or copyright notice from the top of a file (paper, section 2.1: headers by regular expression).

    Args:
        header: what a header is, matched at the start of the text (a run of comment lines, a docstring).
        notice: what makes it boilerplate; a header that does not contain it stays.
    """

    name = "licence header"

    def __init__(self, header: str, notice: str) -> None:
        (self.header,) = compiled([header], re.MULTILINE)
        (self.notice,) = compiled([notice], re.IGNORECASE)

    def __call__(self, document: Document) -> Document | None:
        header = self.header.match(document.text)
        if header and self.notice.search(header[0]):
            return document.with_text(document.text[header.end() :].lstrip("\n"))
        return document


class RemoveLines:
    """Removes lines that match one of the patterns from end to end: furniture of a site or an edition."""

    name = "furniture lines"

    def __init__(self, patterns: list[str]) -> None:
        self.patterns = compiled(patterns, re.NOFLAG)

    def __call__(self, document: Document) -> Document | None:
        lines = document.text.split("\n")
        kept = [line for line in lines if not any(pattern.fullmatch(line.strip()) for pattern in self.patterns)]
        return document if len(kept) == len(lines) else document.with_text(tidy("\n".join(kept)))


class RemoveText:
    """Removes every match of the patterns, across lines: marks of headings, notices inside a text."""

    name = "furniture"

    def __init__(self, patterns: list[str]) -> None:
        self.patterns = compiled(patterns, re.MULTILINE)

    def __call__(self, document: Document) -> Document | None:
        text = document.text
        for pattern in self.patterns:
            text = pattern.sub("", text)
        return document if text == document.text else document.with_text(tidy(text))
