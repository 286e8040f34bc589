"""Where a text can be cut: the ends of sentences in prose, the ends of lines in code and verse."""

import re
from dataclasses import dataclass

# A sentence ends with . ! or ? after a word of two letters or more ("U.S. army", "J. Milton" are no ends), perhaps a
# closing quote or bracket, white space, and then something that can open a sentence (a LaTeX command can).
SENTENCE_END = re.compile(r"\w\w[.!?][\"'\u201d\u2019)\]]{0,2}(\s+)(?=[\"'\u201c\u2018(\[]?[A-Z0-9\\])")
BLANK_LINE = re.compile(r"([^\S\n]*\n[^\S\n]*\n\s*)(?=\S)")
LINE_END = re.compile(r"([^\S\n]*\n\s*)(?=\S)")
# Prose has a sentence end this often (in characters); a text with fewer is cut at its lines.
PROSE_UNIT = 400


@dataclass(frozen=True)
class Span:
    """A stretch of a document that starts where a unit starts and ends where one ends.

    Attributes:
        document: position of the document in its source's list.
        start, end: character offsets; the text in between carries no white space at its ends.
        separator: the white space between the preceding text and `start`.
        text: the characters themselves.
    """

    document: int
    start: int
    end: int
    separator: str
    text: str

    @property
    def form(self) -> tuple[str, str, int, str]:
        """What a reader sees before reading: separator, kind of first character, line breaks, kind of last one."""
        return self.separator, _kind(self.text[0]), self.text.count("\n"), _kind(self.text[-1])


def _kind(character: str) -> str:
    if character.isalpha():
        return "A" if character.isupper() else "a"
    return "0" if character.isdigit() else character


def boundaries(text: str) -> list[tuple[int, int]]:
    """(end of one unit, start of the next) for every place where the text can be cut, in order."""
    sentences = {match.span(1) for match in SENTENCE_END.finditer(text)}
    if len(sentences) * PROSE_UNIT >= len(text):
        return sorted(sentences | {match.span(1) for match in BLANK_LINE.finditer(text)})
    return [match.span(1) for match in LINE_END.finditer(text)]


def spans(document: int, text: str, minimum: int, maximum: int, preceding: int) -> list[Span]:
    """All stretches of whole units with `minimum` to `maximum` characters that have `preceding` characters before.

    From each starting place only the shortest stretch of at least `minimum` characters is taken.
    """
    cuts = boundaries(text)
    ends = [end for end, _ in cuts] + [len(text.rstrip())]
    found = []
    last = 0
    for index, (before, start) in enumerate(cuts):
        if before < preceding:
            continue
        last = max(last, index + 1)
        while last < len(ends) and ends[last] - start < minimum:
            last += 1
        if last < len(ends) and ends[last] - start <= maximum:
            found.append(Span(document, start, ends[last], text[before:start], text[start : ends[last]]))
    return found
