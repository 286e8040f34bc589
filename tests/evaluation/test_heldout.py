"""Items from held-out documents: balanced, matched, deterministic, without leaks or giveaways of form."""

import collections
import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest
from evaluation_builders import documents

from llamalab.evaluation.documents import Document
from llamalab.evaluation.heldout import ContinuationChoices, Excerpts

OPTIONS: dict[str, Any] = {
    "items_per_domain": 150,
    "context_characters": 300,
    "continuation_characters": 60,
    "length_tolerance": 0.1,
    "max_overlap": 0.5,
    "seed": 0,
}


def held_out(kind: str, count: int = 20, length: int = 60) -> list[Document]:
    return [Document(str(row["id"]), str(row["text"])) for row in documents(kind, count, length)]


@pytest.fixture(scope="module", params=["prose", "code"])
def domain(request: pytest.FixtureRequest) -> tuple[list[Document], list[dict[str, Any]]]:
    found = held_out(request.param)
    return found, ContinuationChoices(**OPTIONS).rows(request.param, found)


def test_items_come_in_fours_with_balanced_positions(domain: Any) -> None:
    _, rows = domain
    assert len(rows) == 148
    for four in (rows[start : start + 4] for start in range(0, len(rows), 4)):
        assert [row["gold"] for row in four] == [0, 1, 2, 3]
        assert all(row["choices"] == four[0]["choices"] for row in four)
        contexts = [row["context"] for row in four]
        assert len(set(contexts)) == 4
        for position, row in enumerate(four):
            assert row["neutral"] == contexts[:position] + contexts[position + 1 :]


def test_the_truth_continues_its_context_and_the_others_are_from_other_documents(domain: Any) -> None:
    found, rows = domain
    texts = {document.id: document.text for document in found}
    for row in rows:
        source = row["documents"][row["gold"]]
        assert row["context"] + row["choices"][row["gold"]] in texts[source]
        assert 150 <= len(row["context"].rstrip()) <= 300
        assert len(set(row["choices"])) == len(set(row["documents"])) == 4
        for position, (choice, other) in enumerate(zip(row["choices"], row["documents"], strict=True)):
            assert choice in texts[other]
            assert (choice in texts[source]) == (position == row["gold"])


def test_lengths_are_matched(domain: Any) -> None:
    _, rows = domain
    for row in rows:
        lengths = sorted(map(len, row["choices"]))
        assert lengths[0] >= 60
        assert lengths[-1] <= min(120, 1.1 * lengths[0])


def test_choices_look_alike(domain: Any) -> None:
    def kind(character: str) -> str:
        return "letter" + str(character.isupper()) if character.isalpha() else "0" if character.isdigit() else character

    _, rows = domain
    for row in rows:
        forms = {(kind(text[0]), kind(text[-1]), text.count("\n"), text == text.strip()) for text in row["choices"]}
        assert len(forms) == 1
        assert next(iter(forms))[3]


def test_no_text_is_used_twice(domain: Any) -> None:
    _, rows = domain
    by_document = collections.defaultdict(list)
    for row in rows:
        document, start = row["id"].rsplit(":", 1)
        assert document == row["documents"][row["gold"]]
        by_document[document].append((int(start), int(start) + len(row["choices"][row["gold"]])))
    for places in by_document.values():
        for (_, end), (start, _) in itertools.pairwise(sorted(places)):
            assert end <= start
    assert len(by_document) == 20
    assert max(map(len, by_document.values())) < 2 * len(rows) / 20


SHORTCUTS: dict[str, Callable[[str], float]] = {
    "longest": len,
    "most words": lambda text: len(text.split()),
    "most digits": lambda text: sum(map(str.isdigit, text)),
    "commonest letters": lambda text: sum(text.count(letter) for letter in "etaoin") / len(text),
    "anything": lambda text: random.Random(text).random(),
}


@pytest.mark.parametrize("shortcut", SHORTCUTS)
def test_who_ignores_the_context_gets_exactly_one_in_four(domain: Any, shortcut: str) -> None:
    _, rows = domain
    hits = 0
    for row in rows:
        values = [SHORTCUTS[shortcut](choice) for choice in row["choices"]]
        hits += values.index(max(values)) == row["gold"]
    assert hits == len(rows) / 4


def test_items_depend_on_documents_and_seed_only(domain: Any) -> None:
    found, rows = domain
    name = rows[0]["domain"]
    shuffled = random.Random(1).sample(found, len(found))
    assert ContinuationChoices(**OPTIONS).rows(name, shuffled) == rows
    assert ContinuationChoices(**{**OPTIONS, "seed": 1}).rows(name, found) != rows


def test_near_duplicates_are_no_distractors() -> None:
    generator = random.Random(0)
    copies = []
    for document in held_out("prose", 6, 60):
        # the same document with every eighth word changed: each of its sentences has a near-duplicate
        words = document.text.split(" ")
        changed = [generator.choice(words) if i % 8 == 0 and w.islower() else w for i, w in enumerate(words)]
        copies += [document, Document(document.id + "copy", " ".join(changed))]
    rows = ContinuationChoices(**OPTIONS).rows("prose", copies)
    assert len(rows) > 50

    def grams(text: str) -> set[str]:
        return {text[i : i + 5] for i in range(len(text) - 4)}

    for row in rows:
        for one, other in itertools.combinations([grams(choice) for choice in row["choices"]], 2):
            assert len(one & other) <= 0.5 * min(len(one), len(other))


@pytest.mark.parametrize(
    "found", [held_out("prose", 1, 80), [Document("a", "short")] * 5, []], ids=["one document", "short ones", "none"]
)
def test_documents_that_allow_no_items_give_none(found: list[Document]) -> None:
    assert ContinuationChoices(**OPTIONS).rows("prose", found) == []


def test_excerpts_share_the_budget_and_begin_at_the_beginning() -> None:
    found = held_out("prose", 20, 40)
    builder = Excerpts(characters_per_domain=5000, characters_per_document=800, seed=0)
    rows = builder.rows("prose", found)
    assert sum(len(row["text"]) for row in rows) == 5000
    assert [len(row["text"]) for row in rows[:-1]] == [800] * 6
    texts = {document.id: document.text for document in found}
    assert all(texts[row["id"]].startswith(row["text"]) for row in rows)
    assert rows == builder.rows("prose", found[::-1])
    assert rows != Excerpts(5000, 800, seed=1).rows("prose", found)


def test_excerpts_of_a_small_domain_are_all_of_it() -> None:
    found = [*held_out("code", 4, 10), Document("blank", "  \n")]
    rows = Excerpts(100_000, 10_000, 0).rows("code", found)
    assert sorted(row["text"] for row in rows) == sorted(document.text for document in found[:4])
