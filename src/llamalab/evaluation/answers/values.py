"""Arithmetic that is exact as long as all is rational, and bounded in what it costs."""

import cmath
import math
from fractions import Fraction

Value = Fraction | complex

BITS = 100_000  # of an exact power
TOLERANCE = 1e-9  # relative, where something is irrational


def close(first: Value, second: Value) -> bool:
    """Whether two values are the same: exactly if both are exact, else up to rounding. Raises OverflowError."""
    if isinstance(first, Fraction) and isinstance(second, Fraction):
        return first == second
    first, second = complex(first), complex(second)
    if not (cmath.isfinite(first) and cmath.isfinite(second)):
        raise OverflowError
    return abs(first - second) <= TOLERANCE * max(abs(first), abs(second), 1e-3)


def add(first: Value, second: Value) -> Value:
    """The sum."""
    both = isinstance(first, Fraction) and isinstance(second, Fraction)
    return first + second if both else complex(first) + complex(second)


def multiply(first: Value, second: Value) -> Value:
    """The product."""
    both = isinstance(first, Fraction) and isinstance(second, Fraction)
    return first * second if both else complex(first) * complex(second)


def divide(first: Value, second: Value) -> Value:
    """The quotient. Raises ZeroDivisionError."""
    both = isinstance(first, Fraction) and isinstance(second, Fraction)
    return first / second if both else complex(first) / complex(second)


def power(base: Value, exponent: Value) -> Value:
    """The power; square roots of squares are exact, odd roots of negative numbers real. Raises ArithmeticError."""
    if isinstance(base, Fraction) and isinstance(exponent, Fraction):
        if exponent.denominator == 1:
            size = max(base.numerator.bit_length(), base.denominator.bit_length()) * abs(exponent.numerator)
            if size > BITS:
                raise OverflowError
            return base**exponent.numerator
        root = _exact_root(base, exponent.denominator)
        if root is not None:
            return power(root, Fraction(exponent.numerator))
        # an odd root of a negative number is the real one, as in school
        if base < 0 and exponent.denominator % 2:
            real = -(float(-base) ** (1 / exponent.denominator))
            return complex(real) ** exponent.numerator
    if base == 0:
        raise ZeroDivisionError
    return complex(complex(base) ** complex(exponent))


def _exact_root(value: Fraction, degree: int) -> Fraction | None:
    if value < 0 or degree != 2:
        return None
    above, below = math.isqrt(value.numerator), math.isqrt(value.denominator)
    return Fraction(above, below) if (above**2, below**2) == (value.numerator, value.denominator) else None


def factorial(value: Value) -> Value:
    """The factorial. Raises ArithmeticError for anything but a small whole number."""
    return Fraction(math.factorial(small(value)))


def small(value: Value) -> int:
    """A whole number from 0 to 1000. Raises ArithmeticError for any other."""
    if not isinstance(value, Fraction) or value.denominator != 1 or not 0 <= value <= 1000:
        raise ArithmeticError(f"{value} is no small whole number")
    return int(value)
