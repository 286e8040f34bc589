"""Documents that are nearly the same: MinHash signatures, locality-sensitive hashing, then the exact comparison."""

import datasketch

from llamalab.data.deduplication.shingles import PERMUTATIONS, jaccard, minhash_of, shingles
from llamalab.data.documents import Document


class NearDuplicates:
    """Keeps the first of documents whose word n-grams overlap by more than a threshold.

    Args:
        threshold: Jaccard similarity of the sets of n-grams from which two texts are near-duplicates.
        words: n.
    """

    name = "near duplicate"

    def __init__(self, threshold: float, words: int) -> None:
        self.threshold, self.words = threshold, words

    def __call__(self, documents: list[Document]) -> list[Document]:
        # The index proposes pairs from a lower similarity on, so that it hardly misses one above the threshold.
        index = datasketch.MinHashLSH(threshold=0.75 * self.threshold, num_perm=PERMUTATIONS)
        kept: list[Document] = []
        for document in documents:
            hashes = shingles(document.text, self.words)
            minhash = minhash_of(hashes)
            candidates = sorted(index.query(minhash))
            if any(jaccard(hashes, shingles(kept[i].text, self.words)) >= self.threshold for i in candidates):
                continue
            index.insert(len(kept), minhash)
            kept.append(document)
        return kept


def pairs_alike(minhashes: list[datasketch.MinHash], threshold: float, least: float) -> list[tuple[int, int]]:
    """Pairs of indices whose estimated similarity is at least `least`, found by an index tuned to `threshold`."""
    index = datasketch.MinHashLSH(threshold=threshold, num_perm=PERMUTATIONS)
    pairs = []
    for i, minhash in enumerate(minhashes):
        pairs += [(j, i) for j in sorted(index.query(minhash)) if minhash.jaccard(minhashes[j]) >= least]
        index.insert(i, minhash)
    return pairs
