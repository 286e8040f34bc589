"""Permutations of range(n) that are computed, not stored: any element of any epoch in constant memory."""

import numpy as np
import numpy.typing as npt

UInt64Array = npt.NDArray[np.uint64]

# Eight rounds of a balanced Feistel network mix even the tiny domains (a few windows) of a test corpus well.
ROUNDS = 8


def mix(values: UInt64Array) -> UInt64Array:
    """SplitMix64's finaliser (Steele, Lea and Flood, 2014): a bijection of 64 bits that scatters close inputs."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def key_of(*parts: int) -> np.uint64:
    """One 64-bit key from several integers; every part and its place counts."""
    state = np.zeros(1, dtype=np.uint64)
    for part in parts:
        state = mix(state ^ mix(np.array([part % 2**64], dtype=np.uint64)))
    return np.uint64(state[0])


def permute(positions: npt.NDArray[np.integer], size: int, key: np.uint64) -> npt.NDArray[np.int64]:
    """Images of `positions` under the permutation of range(`size`) that `key` names.

    A Feistel network permutes the smallest even power of two that holds `size`; an image outside the range is
    permuted again until it falls inside ("cycle walking", Black and Rogaway 2002), which keeps it a bijection.

    Args:
        positions: integers in [0, size), any shape.
        size: the number of elements, at least 1 and below 2^62.
        key: chooses the permutation.
    """
    assert 1 <= size < 2**62
    half = np.uint64((max(size - 1, 1).bit_length() + 1) // 2)
    low = np.uint64((1 << int(half)) - 1)
    keys = mix(key + np.arange(1, ROUNDS + 1, dtype=np.uint64))
    images = positions.astype(np.uint64)
    assert (images < size).all(), f"positions outside range({size})"
    outside = np.ones(images.shape, dtype=bool)
    while outside.any():
        left, right = images[outside] >> half, images[outside] & low
        for round_key in keys:
            left, right = right, left ^ (mix(right ^ round_key) & low)
        images[outside] = (left << half) | right
        outside = images >= size
    return images.astype(np.int64)
