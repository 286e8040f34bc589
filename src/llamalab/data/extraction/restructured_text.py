"""reStructuredText to prose: markup out, text and code samples kept, a paragraph in one line."""

import re

from llamalab.data.source import Extract, Record
from llamalab.data.text import decode, tidy

# Under a title, or the border of a table.
ADORNMENT = re.compile(r"([=\-~`^\"'#*+.:_<>])\1{2,}(?:\s+\1+)*|\+[-=+]+\+")
# `.. _label:`, `.. |sub| replace:: x`, `.. [1] footnote`, `__ https://...`: they carry no prose of their own.
TARGET = re.compile(r"\.\. [_|\[].*|__ \S+")
DIRECTIVE = re.compile(r"\.\. ([\w:+-]+)::\s*(.*)")
COMMENT = re.compile(r"\.\.(?: .*)?")
OPTION = re.compile(r":[\w-]+:(?:\s.*)?")
ITEM = re.compile(r"(?:[*+-]|\d+\.|#\.)\s+")

# Directives whose body is text and whose argument is a sentence or a name that belongs to it.
SPOKEN = {
    "versionadded": "New in version {}:",
    "versionchanged": "Changed in version {}:",
    "deprecated": "Deprecated since version {}:",
}
CODE = ("code-block", "code", "console", "parsed-literal", "sourcecode", "snippet", "math", "productionlist")
# Directives whose body is a list of file names, a picture or markup for other formats.
SILENT = {"toctree", "image", "figure", "raw", "highlight", "module", "currentmodule", "default-domain", "index"}

LITERAL = re.compile(r"``(.+?)``")
INLINE = [
    (re.compile(r":[\w+:-]+:`!?([^`<]*?)\s*<[^`>]*>`"), r"\1"),  # :role:`text <target>`
    (re.compile(r":[\w+:-]+:`~[\w.]*?(\w+(?:\(\))?)`"), r"\1"),  # :role:`~module.name`
    (re.compile(r":[\w+:-]+:`[!~]?([^`]*)`"), r"\1"),  # :role:`text`
    (re.compile(r"`([^`<]*?)\s*<[^`>]*>`__?"), r"\1"),  # `text <url>`_
    (re.compile(r"`([^`]+)`(?:__?)?"), r"\1"),  # `target`_ and `title`
    (re.compile(r"\[(?:#?\w+|\*)\]_"), ""),  # [1]_
    (re.compile(r"\b([A-Za-z][\w.-]*[A-Za-z0-9])__?(?=[\s.,;:)]|$)"), r"\1"),  # target_
    (re.compile(r"\*\*(?=\S)([^*]+?)(?<=[^\s\\])\*\*"), r"\1"),  # **strong**
    (re.compile(r"(?<![\w*\\])\*(?=\S)([^*]+?)(?<=[^\s\\])\*(?![\w*])"), r"\1"),  # *emphasis*
    (re.compile(r"\\\s"), ""),  # escaped space, which separates markup and is not shown
    (re.compile(r"\\(\W)"), r"\1"),  # escaped character
]


def without_markup(text: str) -> str:
    """A paragraph without inline markup; what stands in double backquotes is taken as it is."""
    parts = LITERAL.split(text)
    for index in range(0, len(parts), 2):
        for pattern, replacement in INLINE:
            parts[index] = pattern.sub(replacement, parts[index])
    return "".join(parts)


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip())


class _Reader:
    """Reads lines one by one and collects paragraphs and code."""

    def __init__(self) -> None:
        self.output: list[str] = []
        self.paragraph: list[str] = []
        self.paragraph_depth = 0
        self.code_below: int | None = None  # deeper lines are code
        self.silent_below: int | None = None  # deeper lines are left out
        self.in_options = False  # right below a directive

    def end_paragraph(self) -> None:
        if self.paragraph:
            self.output.append(without_markup(" ".join(self.paragraph)))
            self.paragraph = []

    def read(self, line: str) -> None:
        depth, text = _depth(line), line.strip()
        if not text:
            self.in_options = False
            self.end_paragraph()
            self.output.append("")
            return
        if self.silent_below is not None:
            if depth > self.silent_below:
                return
            self.silent_below = None
        if self.in_options and OPTION.fullmatch(text):
            return
        self.in_options = False
        if self.code_below is not None:
            if depth > self.code_below:
                self.end_paragraph()
                self.output.append(line)
                return
            self.code_below = None
        self.read_text(depth, text)

    def read_text(self, depth: int, text: str) -> None:
        directive = DIRECTIVE.fullmatch(text)
        if ADORNMENT.fullmatch(text):
            self.end_paragraph()
        elif directive:
            self.end_paragraph()
            self.read_directive(depth, directive[1], directive[2])
        elif TARGET.fullmatch(text) or COMMENT.fullmatch(text):
            self.end_paragraph()
            self.silent_below = depth
        else:
            # A new item, or a step out (the text after a definition), begins a new line; wrapped lines go on.
            if ITEM.match(text) or (self.paragraph and depth < self.paragraph_depth):
                self.end_paragraph()
            if not self.paragraph:
                self.paragraph_depth = depth
            if text.endswith("::"):
                self.code_below = depth
                text = text[:-1]
            if text != ":":
                self.paragraph.append(text)

    def read_directive(self, depth: int, name: str, argument: str) -> None:
        self.in_options = True
        if name in SILENT:
            self.silent_below = depth
        elif name.endswith(CODE):
            self.code_below = depth
        elif name in SPOKEN:
            self.output.append(SPOKEN[name].format(argument))
        elif argument:
            self.output.append(without_markup(argument))


def plain(text: str) -> str:
    """The prose and code samples of a reStructuredText document."""
    reader = _Reader()
    for line in text.split("\n"):
        reader.read(line)
    reader.end_paragraph()
    return tidy("\n".join(reader.output))


class RestructuredText:
    """Documentation prose from reStructuredText."""

    def __call__(self, record: Record) -> list[Extract]:
        return [Extract(record.name, plain(tidy(decode(record.data)).expandtabs()), {})]
