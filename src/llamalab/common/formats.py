"""Numbers as people read them: sensible digits, thousands separated, a dash where there is nothing to say."""

import math
from collections.abc import Callable
from typing import Any

import pandas as pd

NOTHING = "\N{EN DASH}"
Format = Callable[[Any], str]


def _or_nothing(show: Callable[[Any], str]) -> Format:
    """A format that shows None and NaN as a dash."""

    def format_value(value: Any) -> str:
        return NOTHING if value is None or value is pd.NA or value != value else show(value)

    return format_value


def fixed(digits: int) -> Format:
    """`digits` decimals, thousands separated: 1,234.50; an infinite value as ∞."""
    return _or_nothing(lambda value: "∞" if math.isinf(value) else f"{value:,.{digits}f}")


def signed(digits: int) -> Format:
    """As `fixed`, always with a sign: a difference. Zero is ±0."""

    def show(value: float) -> str:
        text = f"{value:+,.{digits}f}"
        return text.replace("-", "\N{MINUS SIGN}") if float(text.replace(",", "")) else f"±{0:.{digits}f}"

    return _or_nothing(show)


def percent(digits: int) -> Format:
    """A fraction as a percentage."""
    return _or_nothing(lambda value: f"{100 * value:.{digits}f}%")


def significant(digits: int) -> Format:
    """`digits` significant digits without exponent for everyday sizes: 0.000123, 12,300."""

    def show(value: float) -> str:
        if value == 0:
            return "0"
        magnitude = math.floor(math.log10(abs(value)))
        if not -6 <= magnitude < 15:
            return f"{value:.{digits - 1}e}"
        return f"{round(value, digits - 1 - magnitude):,.{max(0, digits - 1 - magnitude)}f}"

    return _or_nothing(show)


def _short(value: float) -> str:
    """Three significant digits without trailing zeros."""
    digits = significant(3)(value)
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def compact(unit: str = "") -> Format:
    """Up to three significant digits with a letter for thousands and up: 1.23 M, 65.3 B, 1.4 T."""

    def show(value: float) -> str:
        for limit, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
            if abs(value) >= 0.9995 * limit:
                return f"{_short(value / limit)} {letter}{unit}"
        return f"{_short(value)} {unit}".rstrip()

    return _or_nothing(show)


def duration(value: float | None) -> str:
    """Seconds as 45 s, 12.3 min, 4.5 h or 21.3 days."""
    if value is None or value != value:
        return NOTHING
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if value < limit:
            return f"{significant(3)(value / size)} {unit}"
    return f"{significant(3)(value / 86400)} days"


count = fixed(0)
plain = _or_nothing(lambda value: f"{value:g}")  # a constant as it was written
scientific = _or_nothing(lambda value: f"{value:.3e}")
text: Format = _or_nothing(str)
