"""Whether two answers to a problem of MATH are the same, by two rules."""

import re

from llamalab.evaluation.answers.latex import same_value
from llamalab.evaluation.answers.stock import minerva

LONGEST = 2000  # characters of an answer that is still looked into; MATH's longest has 81
MATRIX = re.compile(r"\\begin\{[pbvB]?matrix\}(.*)\\end\{[pbvB]?matrix\}", re.DOTALL)
TEXT = re.compile(r"\\(?:text|textbf|textrm|mathrm|mathbf|mbox)\{([^{}]*)\}")
UNIT = re.compile(r"\\(?:text|textbf|textrm|mathrm|mathbf|mbox)\{[^{}]*\}(\^\{?[23]\}?)?")
DEGREES = re.compile(r"\^\{?\\circ\}?|\\degree|°")
GROUPED = re.compile(r"(?<![\d.])\d{1,3}(?:(?:,\\!|\{,\}|\\,)\d{3})+(?!\d)")


def normalised_math(answer: str) -> str:
    """Minerva's normalisation (Lewkowycz et al. 2022, appendix D) as lm-eval has it; an overlong answer stays as it is.

    Some of its patterns take time with the square of the length.
    """
    if len(answer) > LONGEST:
        return answer
    text: str = minerva().normalize_final_answer(answer)
    return text


def minerva_equal(answer: str, gold: str) -> bool:
    """Minerva's rule (Lewkowycz et al. 2022, appendix D), which the paper takes over (section 3.4, Table 7).

    Args:
        answer: normalised by Minerva's function, as is `gold`.
        gold: of the reference solution.
    """
    return answer == gold or same_value(answer, gold)


def equal(answer: str, gold: str) -> bool:
    """Whether two answers as they stand in a text mean the same, element by element.

    Beyond Minerva's rule: tuples, intervals (with their kind of bracket), unions, matrices, lists in any order,
    `\\pm` as two values, units, degrees and percent signs left out, `x = 3` as 3.
    """
    if max(len(answer), len(gold)) > LONGEST:
        return answer == gold
    if minerva_equal(normalised_math(answer), normalised_math(gold)):
        return True
    return _equal(_prepared(answer), _prepared(gold))


def _prepared(text: str) -> str:
    """Without dollars, spacing commands, sizes of brackets, units and a final full stop."""
    text = text.replace("\\$", "").replace("$", "").strip().rstrip(".")
    text = GROUPED.sub(lambda number: re.sub(r"\D", "", number[0]), text)
    text = re.sub(r"\\[!,;:]|\\q?quad(?![a-z])|\\(?:left|right|displaystyle)(?![a-z])", "", text)
    text = re.sub(r"\\[dtc]frac(?![a-z])", r"\\frac", text)
    text = DEGREES.sub("", text).replace("\\%", "").replace("%", "")
    text = re.sub(r"\\text\{,?\s*(?:and|or)\s*\}", ",", text)
    outside = UNIT.sub("", text).strip()
    text = outside if outside else TEXT.sub(r"\1", text)
    text = re.sub(r"\\(?:le|ge)q?(?![a-z])", lambda found: "<=" if "l" in found[0] else ">=", text)
    text = re.sub(r"_\{(\w)\}", r"_\1", text).strip()
    return re.sub(r"\(([A-Z])\)", r"\1", text) if len(text) == 3 else text  # the letter of a choice


def _equal(answer: str, gold: str) -> bool:
    answer, gold = _right_side(answer), _right_side(gold)
    if re.sub(r"\s+", "", answer).lower() == re.sub(r"\s+", "", gold).lower():
        return True
    for split in (_union, _list):
        parts, wanted = split(answer), split(gold)
        if len(parts) > 1 or len(wanted) > 1:
            return _same_elements(parts, wanted)
    matrix, wanted_matrix = _matrix(answer), _matrix(gold)
    if matrix is not None or wanted_matrix is not None:
        return matrix is not None and wanted_matrix is not None and _same_rows(matrix, wanted_matrix)
    inside, wanted_inside = _bracketed(answer), _bracketed(gold)
    if inside is not None and wanted_inside is not None and (len(inside[1]) > 1 or len(wanted_inside[1]) > 1):
        return inside[0] == wanted_inside[0] and _same_rows([inside[1]], [wanted_inside[1]])
    return same_value(answer, gold)


def _right_side(text: str) -> str:
    text = text.strip()
    if "\\begin" not in text and text.count("=") == 1 and not re.search(r"[<>]=|,", text):
        text = text.split("=")[1]
    return text.rsplit("\\in ", 1)[-1].strip()


def _same_elements(first: list[str], second: list[str]) -> bool:
    """The same elements, in any order."""
    left = list(second)
    for element in first:
        match = next((index for index, other in enumerate(left) if _equal(element, other)), None)
        if match is None:
            return False
        del left[match]
    return not left


def _same_rows(first: list[list[str]], second: list[list[str]]) -> bool:
    """The same cells in the same places."""
    return [len(row) for row in first] == [len(row) for row in second] and all(
        _equal(a, b) for row, other in zip(first, second, strict=True) for a, b in zip(row, other, strict=True)
    )


def _union(text: str) -> list[str]:
    return [part.strip() for part in text.split("\\cup")]


def _list(text: str) -> list[str]:
    """Elements that stand side by side without brackets, and those of a set; `\\pm` counts as two."""
    braces = re.fullmatch(r"\\\{(.*)\\\}", text.strip(), re.DOTALL)
    elements = _split(braces[1] if braces else text)
    return [
        value
        for element in elements
        for value in (
            [element.replace("\\pm", "+").replace("\\mp", "-"), element.replace("\\pm", "-").replace("\\mp", "+")]
            if "\\pm" in element
            else [element]
        )
    ]


def _bracketed(text: str) -> tuple[str, list[str]] | None:
    """The kind of brackets around the whole text, and what they hold."""
    text = text.strip()
    if len(text) < 2 or text[0] not in "([" or text[-1] not in ")]" or _closing(text) != len(text) - 1:
        return None
    return text[0] + text[-1], _split(text[1:-1])


def _closing(text: str) -> int:
    """Where the bracket that `text` begins with ends; half-open intervals close with either kind."""
    depth = 0
    for index, letter in enumerate(text):
        depth += (letter in "([{") - (letter in ")]}")
        if depth == 0:
            return index
    return -1


def _split(text: str) -> list[str]:
    """At the commas that are in no bracket."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def _matrix(text: str) -> list[list[str]] | None:
    found = MATRIX.fullmatch(text.strip())
    if not found:
        return None
    rows = [row for row in re.split(r"\\\\|\\cr(?![a-z])", found[1]) if row.strip()]
    return [[cell.strip() for cell in row.split("&")] for row in rows]
