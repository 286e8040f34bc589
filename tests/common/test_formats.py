"""Numbers as people read them."""

import math

import pytest

from llamalab.common import formats


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1_206_144, "1.21 M"), (65_285_660_672, "65.3 B"), (999_999, "1 M"), (4096, "4.1 k"), (12, "12"), (0, "0")],
)
def test_compact(value, shown):
    assert formats.compact()(value) == shown


@pytest.mark.parametrize(("value", "shown"), [(0.0432, "+0.043"), (-0.0432, "\N{MINUS SIGN}0.043"), (1e-9, "±0.000")])
def test_signed(value, shown):
    assert formats.signed(3)(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(0.00012345, "0.000123"), (12_345, "12,300"), (0.996, "0.996"), (1e-9, "1.00e-09"), (0, "0")]
)
def test_significant(value, shown):
    assert formats.significant(3)(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(45.2, "45.2 s"), (3599, "60.0 min"), (90_000, "25.0 h"), (1_797_120, "20.8 days")]
)
def test_duration(seconds, shown):
    assert formats.duration(seconds) == shown


@pytest.mark.parametrize(
    "show", [formats.fixed(2), formats.signed(2), formats.percent(1), formats.significant(3), formats.compact()]
)
@pytest.mark.parametrize("value", [None, math.nan])
def test_nothing_is_a_dash(show, value):
    assert show(value) == formats.duration(value) == formats.text(value) == formats.NOTHING
