"""The small extractors, and the cleaning of Unicode they share."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamalab.common.errors import UserError
from llamalab.data.extraction.books import Books
from llamalab.data.extraction.json_articles import JsonArticles
from llamalab.data.extraction.plain_text import PlainText
from llamalab.data.source import Record
from llamalab.data.text import decode, tidy


@given(st.text(max_size=200))
def test_tidy_text_stays_as_it_is_and_can_be_encoded(text: str) -> None:
    once = tidy(text)
    once.encode()
    assert tidy(once) == once
    assert not set(once) & {"\r", "\x00", "\ufeff", "\u2581"}
    assert "\n\n\n" not in once


def test_tidy_keeps_what_matters() -> None:
    assert tidy("\ufeffa \t\r\n    b\r\n\r\n\r\n\r\nc\x00\n") == "a\n    b\n\nc"
    assert tidy("a\n\n\n\nb", empty_lines=2) == "a\n\n\nb"


def test_decoding_falls_back_to_old_encodings() -> None:
    assert decode("naïve €".encode()) == "naïve €"
    assert decode("naïve €".encode("cp1252")) == "naïve €"


ARTICLES = {"A": {"title": "A", "extract": "About A."}, "B": {"title": "B", "extract": "About B."}}


@pytest.mark.parametrize("content", [ARTICLES, list(ARTICLES.values())])
def test_articles_of_one_file(content: object) -> None:
    extracts = JsonArticles("extract", "title")(Record("w.json", json.dumps(content).encode()))
    assert [(extract.id, extract.text) for extract in extracts] == [("w.json#A", "About A."), ("w.json#B", "About B.")]


def test_an_article_a_line() -> None:
    record = Record("d.jsonl:1", json.dumps(ARTICLES["A"]).encode())
    assert [extract.text for extract in JsonArticles("extract", "title")(record)] == ["About A."]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", r"w\.json: not valid JSON"),
        (b'{"A": {"title": "A"}}', r"w\.json: an article has no 'extract'"),
        (b'["A"]', r"w\.json: an article has no 'extract'"),
        (b'{"extract": 3, "title": "A"}', r"w\.json: 'extract' of article 'A' is not a text"),
    ],
)
def test_json_of_another_form_is_named(data: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        JsonArticles("extract", "title")(Record("w.json", data))


def test_editions_of_a_book_share_their_work() -> None:
    books = Books(edition="_gut(_f)?$", same_work={"hamlet_prince": "hamlet"})
    works = [
        books(Record(f"texts/{name}.txt", b"To be"))[0].metadata["work"] for name in ("hamlet_gut", "hamlet_gut_f")
    ]
    assert works == ["hamlet", "hamlet"]
    assert books(Record("hamlet_prince_gut.txt", b"To be"))[0].metadata == {"work": "hamlet"}
    with pytest.raises(UserError, match=r"extractor\.edition: '\(' is not a regular expression"):
        Books(edition="(", same_work={})


def test_plain_text_is_kept() -> None:
    assert PlainText(empty_lines=2)(Record("a.py", b"x = 1\n\n\n\n\ny = 2\n"))[0].text == "x = 1\n\n\ny = 2"
