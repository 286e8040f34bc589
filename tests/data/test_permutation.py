import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from llamalab.data.permutation import key_of, permute


@given(size=st.integers(1, 3000), seed=st.integers(0, 2**64 - 1))
@settings(max_examples=60, deadline=None)
def test_permute_is_a_bijection(size: int, seed: int) -> None:
    images = permute(np.arange(size), size, key_of(seed))
    assert sorted(images.tolist()) == list(range(size))


@given(size=st.integers(1, 2**61), seed=st.integers(0, 2**32), data=st.data())
@settings(max_examples=60, deadline=None)
def test_an_element_alone_has_the_image_it_has_among_others(size: int, seed: int, data: st.DataObject) -> None:
    positions = np.array(data.draw(st.lists(st.integers(0, size - 1), min_size=2, max_size=6)))
    together = permute(positions, size, key_of(seed))
    alone = [int(permute(positions[i : i + 1], size, key_of(seed))[0]) for i in range(len(positions))]
    assert together.tolist() == alone
    assert ((together >= 0) & (together < size)).all()


def test_order_is_random_enough() -> None:
    """No correlation with the input and none between keys: each below 4 standard errors of independence."""
    size = 4000
    one, other = (permute(np.arange(size), size, key_of(seed)) for seed in (0, 1))
    limit = 4 / np.sqrt(size)
    assert abs(np.corrcoef(one, np.arange(size))[0, 1]) < limit
    assert abs(np.corrcoef(one, other)[0, 1]) < limit
    assert abs(np.corrcoef(one[:-1], one[1:])[0, 1]) < limit


def test_small_sizes_reach_every_order() -> None:
    orders = {tuple(permute(np.arange(3), 3, key_of(seed)).tolist()) for seed in range(200)}
    assert len(orders) == 6


def test_every_part_of_a_key_counts() -> None:
    keys = {int(key_of(*parts)) for parts in [(1, 2), (2, 1), (1,), (1, 2, 0), (0, 1, 2), (-1, 2)]}
    assert len(keys) == 6
