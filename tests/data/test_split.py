"""The split, checked on its result by an independent count of word n-grams."""

import random
import re
from collections import defaultdict

import pytest
from corpus_texts import prose

from llamalab.common.errors import UserError
from llamalab.data.corpus import SplitSettings
from llamalab.data.deduplication.shingles import minhash_of, shingles
from llamalab.data.documents import Document
from llamalab.data.stages.split import choose_validation, groups_of, overlap

SETTINGS = SplitSettings(share=0.2, minimum_bytes=3_000, minimum_works=3, similarity=0.5, words=5)


def corpus() -> list[Document]:
    """Two sources; families of near copies within and across them; editions whose spelling differs."""
    generator = random.Random(0)
    documents = [Document(f"a{i}", prose(i), "a") for i in range(40)]
    documents += [Document(f"b{i}", prose(1000 + i, paragraphs=3), "b") for i in range(30)]
    for i in range(0, 40, 2):
        words = prose(i).split(" ")
        for place in generator.sample(range(len(words)), 8):
            words[place] = f"changed{place}"
        documents.append(Document(f"copy{i}", " ".join(words), generator.choice("ab")))
    for i in range(8):
        text = prose(2000 + i)
        documents.append(Document(f"modern{i}", text, "b", {"work": f"play{i}"}))
        documents.append(Document(f"folio{i}", re.sub("[aeiou]", "y", text), "b", {"work": f"play{i}"}))
    return documents


def split(documents: list[Document], settings: SplitSettings = SETTINGS) -> tuple[list[Document], list[Document]]:
    minhashes = [minhash_of(shingles(document.text, settings.words)) for document in documents]
    groups = groups_of(documents, minhashes, settings.similarity)
    chosen = choose_validation(documents, groups, settings)
    sides: dict[bool, list[Document]] = defaultdict(list)
    for document, group in zip(documents, groups.tolist(), strict=True):
        sides[group in chosen].append(document)
    return sides[False], sides[True]


def grams(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[i : i + 5]) for i in range(len(words) - 4)}


def test_no_near_duplicate_crosses_the_split() -> None:
    documents = corpus()
    train, validation = split(documents)
    assert len(train) + len(validation) == len(documents)
    known = [grams(document.text) for document in train]
    assert any(len(a & b) / len(a | b) > 0.5 for i, a in enumerate(known) for b in known[:i])  # there are families
    for document in validation:
        held = grams(document.text)
        assert max(len(held & other) / len(held | other) for other in known) < 0.5


def test_editions_of_a_work_stay_together() -> None:
    train, validation = split(corpus())
    works = [{document.metadata["work"] for document in side if document.metadata} for side in (train, validation)]
    assert works[0]
    assert works[1]
    assert not works[0] & works[1]


def test_every_source_gets_what_was_asked() -> None:
    documents = corpus()
    _, validation = split(documents)
    for source in "ab":
        held = sum(document.bytes for document in validation if document.source == source)
        total = sum(document.bytes for document in documents if document.source == source)
        assert max(0.2 * total, 3_000) <= held <= 0.5 * total
        assert sum(document.source == source for document in validation) >= 3


def test_the_order_of_documents_does_not_matter() -> None:
    documents = corpus()
    shuffled = random.Random(1).sample(documents, len(documents))
    assert {d.id for d in split(documents)[1]} == {d.id for d in split(shuffled)[1]}


def test_a_few_more_documents_change_little() -> None:
    """Groups are chosen by their own hashes, so most held-out documents stay held out when a source grows."""
    documents = corpus()
    before = {d.id for d in split(documents)[1]}
    after = {d.id for d in split([*documents, *(Document(f"new{i}", prose(5000 + i), "a") for i in range(3))])[1]}
    assert len(before & after) >= 0.8 * len(before)


def test_a_source_of_one_text_is_refused() -> None:
    with pytest.raises(UserError, match=r"data\.sources\.c: too little text"):
        split([*corpus(), Document("c", prose(9000), "c")])


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(UserError, match=r"data\.split\.share: 1\.5 is not between 0 and 1"):
        SplitSettings(share=1.5, minimum_bytes=1, minimum_works=1, similarity=0.5, words=5)


def test_overlap_is_the_share_of_known_grams() -> None:
    text, other = prose(1), prose(2)
    assert overlap([Document("t", text, "s")], [Document("v", text, "s")]) == 1
    assert overlap([Document("t", text, "s")], [Document("v", other, "s")]) == 0
    half = overlap([Document("t", text, "s")], [Document("v", f"{text} {other}", "s")])
    assert half == pytest.approx(0.5, abs=0.05)
