r"""LaTeX cleaned as in the paper (section 2.1, "ArXiv"), after Lewkowycz et al. (2022).

Everything before the first section goes, and so do the bibliography and the comments; definitions and macros that
the user wrote (`\newcommand`, `\def`, `\DeclareMathOperator`) are expanded where they are used. Verbatim text is
never touched: a `%` there is no comment.
"""

import re
from dataclasses import dataclass

from llamalab.data.source import Extract, Record
from llamalab.data.text import decode, tidy

VERBATIM = r"verbatim\*?|Verbatim|lstlisting|minted|alltt|CodeInput|CodeOutput"
# In this order: an escaped character is never the start of a comment, and a `%` in verbatim text is not one either.
TOKENS = re.compile(
    rf"(?P<verbatim>\\begin\{{(?P<name>{VERBATIM})\}}.*?\\end\{{(?P=name)\}}"
    r"|\\verb(?![A-Za-z])\*?(?P<mark>[^\sA-Za-z*]).*?(?P=mark))"
    r"|(?P<block>\\begin\{comment\}.*?\\end\{comment\}|\\iffalse(?![A-Za-z]).*?\\fi(?![A-Za-z]))"
    r"|(?P<escape>\\[^A-Za-z])"
    # As TeX reads it: the comment takes its line's end and the next line's indentation along, but not an empty line.
    r"|(?P<comment>%[^\n]*(?:\n[ \t]*(?=[^\s]))?)",
    re.DOTALL,
)
SECTION = re.compile(r"\\(?:part|chapter|section)\*?\s*(?:\[[^\]]*\]\s*)?\{")
BIBLIOGRAPHY = re.compile(
    r"\\begin\{(thebibliography|references)\}.*?(?:\\end\{\1\}|\Z)|\\bibliography(?:style)?\s*\{[^}]*\}"
    r"|\\printbibliography(?:\[[^\]]*\])?",
    re.DOTALL,
)
DEFINITION = re.compile(
    r"\\(?:(?P<command>(?:re)?newcommand|providecommand|DeclareRobustCommand|DeclareMathOperator)\*?\s*"
    r"(?:\{\s*\\(?P<braced>[A-Za-z@]+|.)\s*\}|\\(?P<bare>[A-Za-z@]+))"
    r"\s*(?:\[(?P<count>\d)\])?\s*(?:\[(?P<default>[^\]]*)\])?\s*"
    r"|(?:long\s*\\)?[eg]?def\s*\\(?P<plain>[A-Za-z@]+)(?P<parameters>(?:#\d)*)\s*)(?=\{)"
)
CONTROL_WORD = re.compile(r"\\([A-Za-z@]+)")
# A macro that calls itself, or one that doubles its argument again and again, is left as it stands beyond these.
DEEPEST = 20
LARGEST_GROWTH = 4

OPEN, CLOSE = "\ue000", "\ue001"  # around the number of a piece of verbatim text, while the rest is worked on


@dataclass(frozen=True)
class Macro:
    """A user's macro: `arguments` of them, the first one optional if `default` is not None."""

    arguments: int
    default: str | None
    body: str


def strip_comments(text: str) -> tuple[str, list[str]]:
    """The text without comments, its verbatim pieces replaced by numbered marks, and these pieces."""
    verbatim: list[str] = []

    def replace(match: re.Match[str]) -> str:
        if match["verbatim"]:
            verbatim.append(match["verbatim"])
            return f"{OPEN}{len(verbatim) - 1}{CLOSE}"
        return match["escape"] or ""

    return TOKENS.sub(replace, text), verbatim


def group_end(text: str, start: int) -> int | None:
    """Just past the brace that closes the one at `start`; None if the text ends before."""
    depth = 0
    position = start
    while position < len(text):
        character = text[position]
        if character == "\\":
            position += 1
        elif character == "{":
            depth += 1
        elif character == "}":
            depth -= 1
            if depth == 0:
                return position + 1
        position += 1
    return None


def take_definitions(text: str) -> tuple[str, dict[str, Macro]]:
    """The text without the definitions of macros, and the macros by name; the last definition counts."""
    macros: dict[str, Macro] = {}
    kept: list[str] = []
    position = 0
    while match := DEFINITION.search(text, position):
        end = group_end(text, match.end())
        if end is None:
            break
        body = text[match.end() + 1 : end - 1]
        name = match["braced"] or match["bare"] or match["plain"]
        if match["command"] == "DeclareMathOperator":
            body = rf"\operatorname{{{body}}}"
        count = int(match["count"] or 0) if match["command"] else len(match["parameters"]) // 2
        macros[name] = Macro(count, match["default"], body)
        kept.append(text[position : match.start()])
        position = end
    kept.append(text[position:])
    return "".join(kept), macros


def _arguments(text: str, position: int, macro: Macro) -> tuple[list[str], int] | None:
    """The arguments that follow at `position` and where they end; None if they are not all there."""
    found: list[str] = []
    if macro.default is not None:
        optional = re.compile(r"\s*\[([^\]]*)\]").match(text, position)
        found.append(optional[1] if optional else macro.default)
        position = optional.end() if optional else position
    while len(found) < macro.arguments:
        while position < len(text) and text[position].isspace():
            position += 1
        if position >= len(text):
            return None
        if text[position] == "{":
            end = group_end(text, position)
            if end is None:
                return None
            found.append(text[position + 1 : end - 1])
        else:
            word = CONTROL_WORD.match(text, position)
            end = word.end() if word else position + 1
            found.append(text[position:end])
        position = end
    return found, position


def substitute(body: str, arguments: list[str]) -> str:
    """A macro's body with `#1` to `#9` replaced; a number without an argument becomes nothing."""

    def argument(number: re.Match[str]) -> str:
        index = int(number[1]) - 1
        return arguments[index] if index < len(arguments) else ""

    return re.sub(r"#([1-9])", argument, body)


def expand(text: str, macros: dict[str, Macro]) -> str:
    """The text with every use of a macro replaced by its body, and the uses in there too."""
    return _Expander(macros, LARGEST_GROWTH * len(text) + 10_000).expand(text, 0)


class _Expander:
    """Expands macros until `budget` characters have been put in."""

    def __init__(self, macros: dict[str, Macro], budget: int) -> None:
        self.macros, self.budget = macros, budget

    def expand(self, text: str, depth: int) -> str:
        kept: list[str] = []
        position = 0
        for match in CONTROL_WORD.finditer(text):
            if depth > DEEPEST or self.budget <= 0:
                break
            macro = self.macros.get(match[1])
            if macro is None or match.start() < position or _is_escaped(text, match.start()):
                continue
            taken = _arguments(text, match.end(), macro)
            if taken is None:
                continue
            arguments, end = taken
            body = substitute(macro.body, arguments)
            self.budget -= len(body) + 1
            body = self.expand(body, depth + 1)
            kept += [text[position : match.start()], body]
            position = end
            # `\alpha` from a body must not run into a letter that followed the macro.
            if re.search(r"\\[A-Za-z@]+\Z", body[-80:]) and text[end : end + 1].isalpha():
                kept.append(" ")
        kept.append(text[position:])
        return "".join(kept)


def _is_escaped(text: str, position: int) -> bool:
    r"""Whether the backslash at `position` is the second of a line break `\\`."""
    count = 0
    while position > 0 and text[position - 1] == "\\":
        count, position = count + 1, position - 1
    return count % 2 == 1


def clean(text: str) -> str:
    """A LaTeX file as training text; empty if it has no section."""
    text, verbatim = strip_comments(text)
    text, macros = take_definitions(text)
    _, _, body = text.partition(r"\begin{document}")
    body = (body or text).partition(r"\end{document}")[0]
    section = SECTION.search(body)
    if section is None:
        return ""
    body = expand(BIBLIOGRAPHY.sub("", body[section.start() :]), macros)
    body = re.sub(rf"{OPEN}(\d+){CLOSE}", lambda number: verbatim[int(number[1])], body)
    return tidy(body)


class Latex:
    """The body of a LaTeX file."""

    def __call__(self, record: Record) -> list[Extract]:
        text = clean(tidy(decode(record.data)))
        return [Extract(record.name, text, {})] if text else []
