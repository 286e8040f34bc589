"""The value of a formula in LaTeX: enough of it to tell whether two answers of MATH are the same number or expression.

Minerva asks SymPy whether the difference of two parsed answers simplifies to 0. Here both are evaluated at a few fixed
points instead, in exact fractions as long as all is rational: the same verdict without a parser generator (whose
version Hydra excludes), without `eval`, and with bounded work on whatever a model writes.
"""

import cmath
import math
import random
import re
from collections.abc import Callable
from fractions import Fraction

from llamalab.evaluation.answers.values import Value, add, close, divide, factorial, multiply, power, small

LONGEST, DEEPEST = 400, 40  # characters and nested groups of what is still read
POINTS = 4

GREEK = ("alpha", "beta", "gamma", "delta", "theta", "lambda", "mu", "phi", "omega", "sigma", "rho")
NUMBER = re.compile(r"\d+\.?\d*|\.\d+")
FRACTION = re.compile(r"\\frac(\{\d+\}|\d)(\{\d+\}|\d)")
SPACING = re.compile(r"\\[!,;: ]|\\quad|\\qquad|~|\s+")
SAME = (
    (r"\left", ""),
    (r"\right", ""),
    (r"\dfrac", r"\frac"),
    (r"\tfrac", r"\frac"),
    (r"\cfrac", r"\frac"),
    (r"\displaystyle", ""),
    (r"\cdot", "*"),
    (r"\times", "*"),
    (r"\div", "/"),
    (r"\lvert", "|"),
    (r"\rvert", "|"),
)


def _reciprocal(function: Callable[[complex], complex]) -> Callable[[complex], complex]:
    return lambda value: 1 / function(value)


FUNCTIONS: dict[str, Callable[[complex], complex]] = {
    "sin": cmath.sin,
    "cos": cmath.cos,
    "tan": cmath.tan,
    "sec": _reciprocal(cmath.cos),
    "csc": _reciprocal(cmath.sin),
    "cot": _reciprocal(cmath.tan),
    "arcsin": cmath.asin,
    "arccos": cmath.acos,
    "arctan": cmath.atan,
    "ln": cmath.log,
    "log": cmath.log10,
    "exp": cmath.exp,
}


class UnreadableError(ValueError):
    """Not a formula that is understood here."""


def same_value(first: str, second: str) -> bool:
    """Whether two formulas have the same value, wherever their letters are defined; False if either is not read."""
    try:
        return all(close(evaluate(first, point), evaluate(second, point)) for point in range(POINTS))
    except (UnreadableError, ArithmeticError, ValueError):
        return False


def evaluate(formula: str, point: int) -> Value:
    """The formula's value with every letter at its place in point number `point` (`i` is the imaginary unit).

    Numbers beside fractions are mixed numbers: `6\\frac15` is 6.2. Exact (a Fraction) if nothing irrational is in it.

    Raises:
        UnreadableError: anything but an arithmetic expression.
        ArithmeticError: division by zero, or too large.
    """
    for old, new in SAME:
        formula = re.sub(re.escape(old) + r"(?![a-z])", lambda _, new=new: new, formula)  # type: ignore[misc]
    # Minerva's normalisation leaves empty groups behind (\\frac9{19})
    formula = SPACING.sub("", formula).replace("{}", "")
    if not formula or len(formula) > LONGEST:
        raise UnreadableError(formula)
    reader = _Reader(formula, point)
    value = reader.sum()
    if reader.position < len(formula):
        raise UnreadableError(formula[reader.position :])
    return value


class _Reader:
    """Recursive descent over one formula."""

    def __init__(self, text: str, point: int) -> None:
        self.text = text
        self.point = point
        self.position = 0
        self.depth = 0

    def at(self, *tokens: str) -> str | None:
        """The first of `tokens` that comes next, which is then behind us."""
        for token in tokens:
            if self.text.startswith(token, self.position):
                self.position += len(token)
                return token
        return None

    def need(self, token: str) -> None:
        if not self.at(token):
            raise UnreadableError(self.text)

    def sum(self) -> Value:
        self.depth += 1
        if self.depth > DEEPEST:
            raise UnreadableError(self.text)
        total = self.product()
        while sign := self.at("+", "-"):
            part = self.product()
            total = add(total, part if sign == "+" else -part)
        self.depth -= 1
        return total

    def product(self) -> Value:
        if sign := self.at("+", "-"):
            value = self.product()
            return value if sign == "+" else -value
        value = self.factor()
        while self.position < len(self.text):
            if self.at("/"):
                value = divide(value, self.factor())
            elif self.at("*") or self.starts_factor():
                value = multiply(value, self.factor())
            else:
                break
        return value

    def starts_factor(self) -> bool:
        rest = self.text[self.position :]
        name = re.match(r"\\([a-zA-Z]+)", rest)
        if name:
            return name[1] in FUNCTIONS or name[1] in ("frac", "sqrt", "pi", "binom") or name[1] in GREEK
        return rest[0].isalnum() or rest[0] in "({["

    def factor(self) -> Value:
        base = self.atom()
        if self.at("!"):
            base = factorial(base)
        if self.at("^"):
            base = power(base, self.argument())
        return base

    def atom(self) -> Value:
        text = self.text
        if number := NUMBER.match(text, self.position):
            self.position = number.end()
            value: Value = Fraction(number[0])
            if "." not in number[0] and (fraction := FRACTION.match(text, self.position)):
                self.position = fraction.end()
                above, below = (Fraction(part.strip("{}")) for part in fraction.groups())
                value += above / below
            return value
        if opened := self.at("(", "[", "{"):
            value = self.sum()
            self.need({"(": ")", "[": "]", "{": "}"}[opened])
            return value
        if self.at("|"):
            value = self.sum()
            self.need("|")
            return abs(value) if isinstance(value, Fraction) else complex(abs(value))
        if command := re.compile(r"\\([a-zA-Z]+)").match(text, self.position):
            self.position = command.end()
            return self.command(command[1])
        if self.position < len(text) and text[self.position].isascii() and text[self.position].isalpha():
            self.position += 1
            return self.letter(text[self.position - 1])
        raise UnreadableError(text)

    def command(self, name: str) -> Value:
        if name == "frac":
            return divide(self.argument(), self.argument())
        if name == "binom":
            n, k = self.argument(), self.argument()
            return Fraction(math.comb(small(n), small(k)))
        if name == "sqrt":
            degree: Value = Fraction(2)
            if self.at("["):
                degree = self.sum()
                self.need("]")
            return power(self.argument(), divide(Fraction(1), degree))
        if name == "pi":
            return complex(math.pi)
        if name in GREEK:
            return self.letter(name)
        if name in FUNCTIONS:
            return self.function(FUNCTIONS[name])
        raise UnreadableError(name)

    def function(self, function: Callable[[complex], complex]) -> Value:
        exponent = self.argument() if self.at("^") else None
        base = None
        if self.at("_"):
            base = self.argument()
        value = self.factor()
        while self.continues_argument():  # without brackets: \sin 2x is of 2x
            value = multiply(value, self.factor())
        found: Value = function(complex(value))
        if base is not None:
            found = divide(found, function(complex(base)))
        return found if exponent is None else power(found, exponent)

    def continues_argument(self) -> bool:
        rest = self.text[self.position :]
        return bool(rest) and (rest[0].isalnum() or rest.startswith(("\\pi", "\\frac")))

    def letter(self, name: str) -> Value:
        if self.at("_"):
            mark = re.compile(r"\{[a-zA-Z0-9]+\}|[a-zA-Z0-9]").match(self.text, self.position)
            if not mark:
                raise UnreadableError(self.text)
            self.position = mark.end()
            name += "_" + mark[0].strip("{}")
        elif name == "i":
            return 1j
        # the same place for the same letter in both formulas; of either sign, so that sqrt(x^2) is not x
        return Fraction(random.Random(f"{name} {self.point}").randint(-3000, 3000) or 1, 1009)

    def argument(self) -> Value:
        """A group in braces, a command with its own arguments, or a single character: `\\frac12` is a half."""
        if self.at("{"):
            value = self.sum()
            self.need("}")
            return value
        if self.position < len(self.text) and self.text[self.position].isdigit():
            self.position += 1
            return Fraction(self.text[self.position - 1])
        return self.atom()
