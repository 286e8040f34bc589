"""Deduplication against brute force over sets of words in plain Python."""

import random
import re

import numpy as np
import pytest
from corpus_texts import BOILERPLATE, prose
from hypothesis import given
from hypothesis import strategies as st

from llamalab.data.deduplication.exact import ExactDocuments
from llamalab.data.deduplication.lines import DuplicateLines, RepeatedLines
from llamalab.data.deduplication.near import NearDuplicates, pairs_alike
from llamalab.data.deduplication.overlap import OverlappingTexts
from llamalab.data.deduplication.shingles import jaccard, minhash_of, shingles, word_hashes
from llamalab.data.documents import Document
from llamalab.data.source import CorpusRule
from llamalab.data.stages.deduplicate import apply_rules

ascii_texts = st.text(alphabet="abC1_ .,\n-", max_size=120)


def documents(*texts: str) -> list[Document]:
    return [Document(str(number), text, "s") for number, text in enumerate(texts)]


def kept(rule: CorpusRule, *texts: str) -> list[str]:
    return [document.id for document in rule(documents(*texts))]


def grams(text: str, words: int) -> set[tuple[str, ...]]:
    found = re.findall(r"\w+", text.lower())
    return {tuple(found[i : i + words]) for i in range(max(1, len(found) - words + 1))}


def true_jaccard(one: str, other: str, words: int) -> float:
    a, b = grams(one, words), grams(other, words)
    return len(a & b) / len(a | b)


def edited(text: str, share: float, seed: int) -> str:
    """The text with a share of its words replaced."""
    generator = random.Random(seed)
    return " ".join(f"new{generator.random()}" if generator.random() < share else word for word in text.split())


@given(ascii_texts)
def test_word_hashes_follow_the_words(text: str) -> None:
    words = re.findall(r"\w+", text.lower())
    hashes = word_hashes(text).tolist()
    assert len(hashes) == len(words)
    assert len(set(hashes)) == len(set(words))
    assert [value == hashes[0] for value in hashes] == [word == words[0] for word in words]


@given(ascii_texts, st.integers(1, 4))
def test_shingles_are_the_distinct_grams(text: str, words: int) -> None:
    assert len(shingles(text, words)) == len(grams(text, words))


@given(ascii_texts, ascii_texts, st.integers(1, 3))
def test_jaccard_is_that_of_the_grams(one: str, other: str, words: int) -> None:
    assert jaccard(shingles(one, words), shingles(other, words)) == pytest.approx(true_jaccard(one, other, words))


def test_a_words_hash_does_not_depend_on_where_it_stands() -> None:
    assert word_hashes("Word, and a word: é word_2")[0] == word_hashes("é " * 1000 + "word")[-1]


@pytest.mark.parametrize("share", [0.0, 0.02, 0.1])
def test_signatures_estimate_the_similarity(share: float) -> None:
    """128 permutations: the standard error is at most 0.044; four of them are allowed."""
    text = prose(1, paragraphs=20)
    other = edited(text, share, seed=2)
    estimate = minhash_of(shingles(text, 5)).jaccard(minhash_of(shingles(other, 5)))
    assert abs(estimate - true_jaccard(text, other, 5)) < 4 * 0.044


def test_exact_copies_go() -> None:
    assert kept(ExactDocuments(), "a", "b", "a", "a ", "b") == ["0", "1", "3"]


def test_boilerplate_lines_go_from_all_documents() -> None:
    rule = RepeatedLines(documents=3, characters=20)
    texts = [f"{BOILERPLATE}\nunique line {'xyz'[i]} of some length\n}}" for i in range(3)]
    assert [d.text for d in rule(documents(*texts))] == [f"unique line {c} of some length\n}}" for c in "xyz"]
    assert kept(rule, *texts[:2]) == ["0", "1"]
    assert rule(documents(*texts[:2]))[0].text == texts[0]  # in two documents only: stays
    assert kept(rule, BOILERPLATE, BOILERPLATE + "\nmore of this text", BOILERPLATE) == ["1"]  # nothing left: dropped


def test_lines_are_compared_without_case_digits_and_spaces() -> None:
    rule = RepeatedLines(documents=2, characters=10)
    assert kept(rule, "Posted on 12 May by admin", "posted  on 3 may by ADMIN") == []


def test_a_line_repeated_within_one_document_is_no_boilerplate() -> None:
    text = "the chorus of a song\nverse one is here\nthe chorus of a song"
    assert RepeatedLines(documents=2, characters=10)(documents(text))[0].text == text


def test_the_first_of_equal_paragraphs_stays() -> None:
    rule = DuplicateLines(characters=20)
    line = "a paragraph that two pages print in full"
    result = rule(documents(f"one\n{line}", f"two\n{line}\nend", line, f"{line}\n{line}"))
    assert [document.text for document in result] == [f"one\n{line}", "two\nend"]


def test_near_duplicates_against_brute_force() -> None:
    originals = [prose(seed, paragraphs=4) for seed in range(12)]
    copies = [edited(text, share, seed) for seed, text in enumerate(originals) for share in (0.01, 0.06)]
    texts = originals + copies
    expected: list[str] = []
    for number, text in enumerate(texts):
        if all(true_jaccard(text, texts[int(other)], 5) < 0.8 for other in expected):
            expected.append(str(number))
    assert 12 < len(expected) < len(texts)  # some copies are near enough, some are not
    assert kept(NearDuplicates(threshold=0.8, words=5), *texts) == expected


def test_pairs_found_by_the_index_are_the_alike_ones() -> None:
    originals = [prose(seed, paragraphs=4) for seed in range(15)]
    texts = originals + [edited(text, 0.01, seed) for seed, text in enumerate(originals)]
    pairs = pairs_alike([minhash_of(shingles(text, 5)) for text in texts], threshold=0.5, least=0.4)
    assert sorted(pairs) == [(i, i + 15) for i in range(15)]


def test_a_text_inside_a_longer_one_goes() -> None:
    play, other = prose(1, paragraphs=10), prose(2, paragraphs=10)
    collected = f"{prose(3)}\n{play}\n{other}"
    rule = OverlappingTexts(threshold=0.9, words=5)
    assert kept(rule, play, collected, prose(4)) == ["1", "2"]
    half = " ".join(play.split()[:300]) + " " + prose(5, paragraphs=5)
    assert kept(rule, half, play) == ["0", "1"]  # overlap about a half
    assert kept(rule, play, play) == ["0"]


def test_counts_by_rule() -> None:
    text = prose(1)
    rules: list[CorpusRule] = [ExactDocuments(), RepeatedLines(documents=2, characters=20)]
    texts = [f"{BOILERPLATE}\n{prose(2)}", text, text, f"{BOILERPLATE}\nshort text"]
    left, dropped = apply_rules(documents(*texts), rules)
    assert [document.text for document in left] == [prose(2), text, "short text"]
    size = len(text.encode())
    assert dropped.as_json() == {
        "exact duplicate": {"documents": 1, "bytes": size},
        "repeated lines": {"documents": 0, "bytes": 2 * (len(BOILERPLATE) + 1)},
    }


def test_signatures_do_not_depend_on_the_order_of_the_shingles() -> None:
    hashes = shingles(prose(7), 5)
    assert np.array_equal(minhash_of(hashes).hashvalues, minhash_of(hashes[::-1]).hashvalues)
