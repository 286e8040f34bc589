"""What the paper compares in closed-book question answering (appendix A)."""

import re
import string
from collections.abc import Iterable

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


def first_line(generation: str) -> str:
    """The generation up to its first line break."""
    return generation.split("\n", 1)[0]


def final_answer(generation: str) -> str:
    """The answer in a generation: "stopping at the first line break, final dot or comma" (appendix A).

    The sentence can be read in more than one way. Taken at its word, as here, the first line ends at its last dot or
    comma: "July 4, 1776." gives "July 4, 1776", "Paris, France" gives "Paris". (lm-eval's nq_open stops at the first
    dot or comma instead, and scored 3.6 points below the paper at 0 shots: its pull request #858.)
    """
    line = first_line(generation)
    end = max(line.rfind("."), line.rfind(","))
    return (line if end < 0 else line[:end]).strip()


def normalised(text: str) -> str:
    """Lower-cased, without punctuation, articles and duplicate white space (appendix A; in the order of SQuAD's)."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def matches_any(answer: str, aliases: Iterable[str]) -> bool:
    """Whether the answer is one of the aliases after normalisation. An answer of which nothing is left matches none."""
    found = normalised(answer)
    return found != "" and any(found == normalised(alias) for alias in aliases)
