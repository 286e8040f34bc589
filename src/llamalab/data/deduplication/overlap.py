"""Texts that are found inside others: editions of a book, a manual that became a chapter."""

from collections import defaultdict

from llamalab.data.deduplication.shingles import shingles
from llamalab.data.documents import Document


class OverlappingTexts:
    """Keeps the longer of two texts if the shorter one's word n-grams are found in it by more than a threshold.

    The paper removes books with more than 90% content overlap (section 2.1, "Gutenberg and Books3"). Overlap is
    counted in the shorter text: a play inside a collected edition is a duplicate although their lengths differ.
    Every n-gram of the kept texts is held in memory, so this is for sources of few texts.

    Args:
        threshold: the share of the shorter text's n-grams.
        words: n.
    """

    name = "overlapping text"

    def __init__(self, threshold: float, words: int) -> None:
        self.threshold, self.words = threshold, words

    def __call__(self, documents: list[Document]) -> list[Document]:
        grams = [shingles(document.text, self.words) for document in documents]
        by_length = sorted(range(len(documents)), key=lambda i: (-len(grams[i]), i))
        holders: dict[int, list[int]] = defaultdict(list)  # an n-gram to the kept texts that have it
        kept: list[int] = []
        for i in by_length:
            shared: dict[int, int] = defaultdict(int)
            for gram in grams[i].tolist():
                for j in holders.get(gram, ()):
                    shared[j] += 1
            if any(count > self.threshold * len(grams[i]) for count in shared.values()):
                continue
            kept.append(i)
            for gram in grams[i].tolist():
                holders[gram].append(i)
        return [documents[i] for i in sorted(kept)]
