"""Where texts are cut."""

import pytest
from evaluation_builders import documents
from hypothesis import given
from hypothesis import strategies as st

from llamalab.evaluation.spans import boundaries, spans


def units(text: str) -> list[str]:
    cuts = boundaries(text)
    starts, ends = [0] + [start for _, start in cuts], [end for end, _ in cuts] + [len(text)]
    return [text[start:end] for start, end in zip(starts, ends, strict=True)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One day. Two days! Three?", ["One day.", "Two days!", "Three?"]),
        ('He said "go." Then "Why?" Now.', ['He said "go."', 'Then "Why?"', "Now."]),
        ("The U.S. Army of J. Milton, 3.5 of it. End.", ["The U.S. Army of J. Milton, 3.5 of it.", "End."]),
        ("e.g. this. not this. But this.", ["e.g. this. not this.", "But this."]),
        ("Title\n\nA text.\n\\begin{x}", ["Title", "A text.", "\\begin{x}"]),
    ],
)
def test_prose_is_cut_at_sentences_and_blank_lines(text: str, expected: list[str]) -> None:
    assert units(text) == expected


def test_text_without_sentences_is_cut_at_lines() -> None:
    rows = ["def function(argument):", "    return argument + 1", "", "value = function(3)"] * 10
    expected = [row.strip() for row in rows if row]
    assert units("\n".join(rows)) == expected


@given(st.lists(st.sampled_from(["word", " ", ". ", "\n", "\n\n", "A", "  ", "? ", '"', "x = 1"]), max_size=80))
def test_spans_are_whole_units_of_the_asked_length(parts: list[str]) -> None:
    text = "".join(parts)
    cuts = boundaries(text)
    starts, ends = {start for _, start in cuts}, {end for end, _ in cuts} | {len(text.rstrip())}
    for span in spans(3, text, minimum=8, maximum=20, preceding=5):
        assert span.document == 3
        assert span.start in starts
        assert span.end in ends
        assert span.text == text[span.start : span.end] == span.text.strip()
        assert 8 <= len(span.text) <= 20
        before = text[: span.start]
        assert before.endswith(span.separator)
        assert not span.separator.strip()
        assert len(before.rstrip()) >= 5


@pytest.mark.parametrize("kind", ["prose", "code"])
def test_documents_give_spans(kind: str) -> None:
    text = str(documents(kind, 1, 60)[0]["text"])
    assert len(spans(0, text, 60, 120, 100)) > 20
