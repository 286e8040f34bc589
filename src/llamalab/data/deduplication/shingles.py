"""Texts as sets of hashed word n-grams, and their MinHash signatures."""

import functools

import datasketch
import numpy as np
import numpy.typing as npt

from llamalab.data.permutation import mix

UInt64Array = npt.NDArray[np.uint64]

PERMUTATIONS = 128
# Shingles whose permutations are computed at once: bounds the memory for long books (128 * 8 bytes each).
AT_ONCE = 16_384
# A word is a run of letters, digits, underscores and everything outside ASCII.
IN_WORD = np.array([byte >= 128 or chr(byte).isalnum() or byte == ord("_") for byte in range(256)])
# An odd number has an inverse modulo 2^64, which is what makes the hash of a word independent of its place.
BASE = 0x9E3779B97F4A7C15
INVERSE = pow(BASE, -1, 2**64)


@functools.lru_cache(maxsize=2)
def _powers(base: int, count: int) -> UInt64Array:
    return np.cumprod(np.full(count, base, dtype=np.uint64), dtype=np.uint64)


def word_hashes(text: str) -> UInt64Array:
    """One 64-bit hash for each word, in order, lower case; all words at once.

    The hash is the sum of byte * BASE^place over the word, as a difference of running sums, moved to place 0.
    """
    data = np.frombuffer(text.lower().encode(), dtype=np.uint8)
    edges = np.diff(IN_WORD[data].astype(np.int8), prepend=0, append=0)
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    length = 1 << max(len(data), 1).bit_length()  # a round number, so that the powers are found again
    terms = (data.astype(np.uint64) + np.uint64(1)) * _powers(BASE, length)[: len(data)]
    sums = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(terms, dtype=np.uint64)])
    return mix((sums[ends] - sums[starts]) * _powers(INVERSE, length)[starts])


def shingles(text: str, words: int) -> UInt64Array:
    """The distinct 64-bit hashes of all runs of `words` words, case and punctuation apart, sorted.

    A text shorter than that is one shingle.
    """
    hashes = word_hashes(text)
    count = max(1, len(hashes) - words + 1)
    state = np.zeros(count, dtype=np.uint64)
    for offset in range(min(words, len(hashes))):
        state = mix(state ^ hashes[offset : offset + count])
    return np.unique(state)


@functools.cache
def _empty() -> datasketch.MinHash:
    return datasketch.MinHash(num_perm=PERMUTATIONS, hashfunc=int, scheme="affine32")


def minhash_of(hashes: UInt64Array) -> datasketch.MinHash:
    """The MinHash signature of a set of shingles."""
    minhash = _empty().copy()
    folded = (hashes & np.uint64(0xFFFFFFFF)).tolist()
    for start in range(0, len(folded), AT_ONCE):
        minhash.update_batch(folded[start : start + AT_ONCE])
    return minhash


def jaccard(one: UInt64Array, other: UInt64Array) -> float:
    """Shared shingles over all shingles of two sets."""
    shared = len(np.intersect1d(one, other, assume_unique=True))
    return shared / (len(one) + len(other) - shared)
