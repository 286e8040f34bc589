"""Benchmark items made from held-out documents: excerpts to compress, and continuations to choose from.

Both builders are deterministic: the same documents and seed give the same items, whatever the order of the file.
"""

import bisect
import itertools
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from llamalab.evaluation.documents import Document
from llamalab.evaluation.spans import Span, boundaries, spans

CHOICES = 4
SHINGLE = 5


class ItemBuilder(Protocol):
    """Turns the held-out documents of one domain into the rows of one lm-eval dataset."""

    def rows(self, domain: str, documents: list[Document]) -> list[dict[str, Any]]:
        """The dataset's rows, JSON-able; empty if this domain cannot give any."""


class Excerpts:
    """The opening of held-out documents, for bits per byte.

    Args:
        characters_per_domain: text taken from each domain, so that every domain costs the same time.
        characters_per_document: at most this much of one document, so that one book is not the whole domain.
        seed: decides which documents are taken.
    """

    def __init__(self, characters_per_domain: int, characters_per_document: int, seed: int) -> None:
        self.characters_per_domain = characters_per_domain
        self.characters_per_document = characters_per_document
        self.seed = seed

    def rows(self, domain: str, documents: list[Document]) -> list[dict[str, Any]]:
        """Rows of `id`, `domain`, `text`."""
        shuffled = sorted(documents, key=lambda document: document.id)
        random.Random(f"{self.seed}/{domain}").shuffle(shuffled)
        rows: list[dict[str, Any]] = []
        left = self.characters_per_domain
        for document in shuffled:
            text = document.text[: min(left, self.characters_per_document)]
            if text.strip():
                rows.append({"id": document.id, "domain": domain, "text": text})
                left -= len(text)
            if left <= 0:
                break
        return rows


class ContinuationChoices:
    """Four-way choice: the true next sentences of a document against three stretches of other documents.

    Items come in fours: four stretches of text from four documents of the domain, each offered with the same four
    choices after its own context. So whoever ignores the context gets exactly one of four right, however easy or
    common some texts are, and the truth is in each position equally often. All four are cut by the same rule, follow
    the same white space, begin and end with the same kind of character, have equally many line breaks, and differ in
    length by less than the tolerance. No text appears in two fours.

    Args:
        items_per_domain: how many items to make at most, where the documents allow it.
        context_characters: at most this much preceding text is shown; half of it must exist.
        continuation_characters: shortest length of a choice; the longest is twice that.
        length_tolerance: largest difference in characters between two choices, as a fraction of the shortest.
        max_overlap: share of common character 5-grams above which two choices count as near-duplicates.
        seed: decides which places are taken and in which order they are offered.
    """

    def __init__(
        self,
        items_per_domain: int,
        context_characters: int,
        continuation_characters: int,
        length_tolerance: float,
        max_overlap: float,
        seed: int,
    ) -> None:
        self.items_per_domain = items_per_domain
        self.context_characters = context_characters
        self.continuation_characters = continuation_characters
        self.length_tolerance = length_tolerance
        self.max_overlap = max_overlap
        self.seed = seed

    def rows(self, domain: str, documents: list[Document]) -> list[dict[str, Any]]:
        """Rows of `id`, `domain`, `context` (ends with the white space before the choices), `neutral` (the contexts of
        the other three), `choices`, `gold`, `documents` (where each choice is from)."""
        documents = sorted(documents, key=lambda document: document.id)
        generator = random.Random(f"{self.seed}/{domain}")
        by_document = [
            spans(
                index,
                document.text,
                minimum=self.continuation_characters,
                maximum=2 * self.continuation_characters,
                preceding=self.context_characters // 2,
            )
            for index, document in enumerate(documents)
        ]
        pool = Pool(span for found in by_document for span in found)
        rows: list[dict[str, Any]] = []
        for first in in_turns(by_document, generator):
            if len(rows) + CHOICES > self.items_per_domain:
                break
            if not pool.is_free(first):
                continue
            chosen = [first]
            for span in pool.alike(first, self.length_tolerance, generator):
                if all(self._differ(span, other, documents) for other in chosen):
                    chosen.append(span)
                if len(chosen) == CHOICES:
                    generator.shuffle(chosen)
                    rows += self._items(domain, chosen, documents)
                    pool.take(chosen)
                    break
        return rows

    def _items(self, domain: str, chosen: list[Span], documents: list[Document]) -> list[dict[str, Any]]:
        """One item per stretch, with the choices in the same order in all of them."""
        contexts = [self._context(documents[truth.document].text, truth) for truth in chosen]
        return [
            {
                "id": f"{documents[truth.document].id}:{truth.start}",
                "domain": domain,
                "context": contexts[gold],
                "neutral": [context for other, context in enumerate(contexts) if other != gold],
                "choices": [span.text for span in chosen],
                "gold": gold,
                "documents": [documents[span.document].id for span in chosen],
            }
            for gold, truth in enumerate(chosen)
        ]

    def _context(self, text: str, truth: Span) -> str:
        """The text before the truth, from the first cut within reach (a word's start if there is none)."""
        end = truth.start - len(truth.separator)
        earliest = max(0, end - self.context_characters)
        window = text[earliest : truth.start]
        if earliest == 0:
            return window
        cuts = [start for _, start in boundaries(window) if earliest + start <= end - self.context_characters // 2]
        if cuts:
            return window[cuts[0] :]
        return window.split(maxsplit=1)[-1]

    def _differ(self, one: Span, other: Span, documents: list[Document]) -> bool:
        """Whether the two come from different documents, neither holds the other's text, and they are no variants."""
        return (
            one.document != other.document
            and one.text not in documents[other.document].text
            and other.text not in documents[one.document].text
            and overlap(one.text, other.text) <= self.max_overlap
        )


class Pool:
    """Spans by form, sorted by length, and which stretches of the documents are taken."""

    def __init__(self, found: Iterable[Span]) -> None:
        self.by_form: dict[tuple[str, str, int, str], list[Span]] = defaultdict(list)
        self.taken: dict[int, list[Span]] = defaultdict(list)
        for span in found:
            self.by_form[span.form].append(span)
        for alike in self.by_form.values():
            alike.sort(key=lambda span: len(span.text))

    def alike(self, span: Span, tolerance: float, generator: random.Random) -> Iterator[Span]:
        """Free spans of the same form, as long as the given one or longer by up to `tolerance`, in random order.

        Each document's turn comes as often as another's, so that a long one does not supply most of them.
        """
        alike = self.by_form[span.form]
        length = len(span.text)
        low = bisect.bisect_left(alike, length, key=lambda other: len(other.text))
        high = bisect.bisect_right(alike, length + int(tolerance * length), key=lambda other: len(other.text))
        by_document: dict[int, list[Span]] = defaultdict(list)
        for other in alike[low:high]:
            by_document[other.document].append(other)
        queues = generator.sample(list(by_document.values()), len(by_document))
        return (other for other in in_turns(queues, generator) if self.is_free(other))

    def is_free(self, span: Span) -> bool:
        """Whether no taken span shares a character with it."""
        return all(span.end <= other.start or span.start >= other.end for other in self.taken[span.document])

    def take(self, chosen: list[Span]) -> None:
        """From now on these are not free."""
        for span in chosen:
            self.taken[span.document].append(span)


def in_turns(queues: Sequence[Sequence[Span]], generator: random.Random) -> Iterator[Span]:
    """All spans, one of each queue after the other, in random order within each."""
    shuffled = [generator.sample(queue, len(queue)) for queue in queues]
    for turn in itertools.zip_longest(*shuffled):
        yield from (span for span in turn if span is not None)


def overlap(one: str, other: str) -> float:
    """Common character 5-grams, as a share of those of the text that has fewer."""
    grams, other_grams = (
        {text[index : index + SHINGLE] for index in range(max(1, len(text) - SHINGLE + 1))} for text in (one, other)
    )
    return len(grams & other_grams) / min(len(grams), len(other_grams))
