"""When two answers of MATH are the same; hand-worked, in the shapes that the data have."""

import random
from pathlib import Path
from typing import Any

import pytest

from llamalab.evaluation.answers import mathematics
from llamalab.evaluation.answers.equivalence import equal, minerva_equal, normalised_math
from llamalab.evaluation.answers.latex import same_value
from llamalab.evaluation.benchmarks.files import jsonl

SAME = [
    # fractions
    (r"\frac{1}{2}", r"\frac12"),
    (r"\dfrac{3}{4}", r"\tfrac34"),
    (r"\frac{1}{2}", "1/2"),
    (r"\frac{1}{2}", "0.5"),
    (r"-\frac{2}{3}", r"\frac{-2}{3}"),
    (r"\frac{6}{8}", r"\frac{3}{4}"),
    (r"\frac9{19}", r"\frac{9}{19}"),
    (r"6\frac15", r"\frac{31}{5}"),
    (".35625", "0.35625"),
    # roots, powers, constants
    (r"\frac{\sqrt{3}}{2}", r"\frac12\sqrt{3}"),
    (r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt{2}}{2}"),
    (r"3\sqrt{2}", r"\sqrt{18}"),
    (r"\sqrt[3]{8}", "2"),
    (r"\sqrt2", r"\sqrt{2}"),
    (r"\frac{7}{6}\pi - \frac{\sqrt{3}}{2}", r"\frac{7\pi}{6}-\frac{\sqrt3}{2}"),
    (r"2^{10}", "1024"),
    (r"\cos 60^\circ \cdot 0 + 3", "3"),
    # expressions
    ("(x+1)^2", "x^2+2x+1"),
    (r"4x(8x^2-x+5)", r"32x^3-4x^2+20x"),
    (r"\frac{2x-7}{(x+1)(x-2)}", r"\frac{2x-7}{x^2-x-2}"),
    ("9 + 11i", "11i+9"),
    ("(1+i)^2", "2i"),
    (r"\binom{5}{2}", "10"),
    ("5!", "120"),
    # units, text, thousands
    (r"5,\!040", "5040"),
    ("58,500", "58500"),
    (r"\$16,\!386.16", "16386.16"),
    (r"145^\circ", "145"),
    (r"25 \text{ ft}", "25"),
    (r"3.25\text{ dollars}", "3.25"),
    (r"90\text{ square" + "\n" + r"units}", "90"),
    (r"\text{Saturday}", r"\mbox{Saturday}"),
    (r"\text{odd}", "odd"),
    (r"25_{6}", "25_{6}"),
    ("x = 3", "3"),
]
ALSO_SAME = [
    # element by element
    (r"\left( -\frac{5}{3}, \frac{2}{3} \right)", r"(-5/3,\,2/3)"),
    (r"(\tfrac12, \tfrac32]", "(0.5, 1.5]"),
    (r"(-\infty, 0] \cup (\tfrac12, \tfrac32]", r"(1/2,3/2]\cup(-\infty,0]"),
    (r"[-2,\infty)", r"\left[ -2, \infty \right)"),
    (r"\begin{pmatrix} 5/2 \\ 0 \\ 5/2 \end{pmatrix}", r"\begin{pmatrix}\frac52\\0\\2.5\end{pmatrix}"),
    (r"\begin{pmatrix} 31 & 50 \\ -18 & -29 \end{pmatrix}", r"\begin{bmatrix}31&50\\-18&-29\end{bmatrix}"),
    (r"2 + \sqrt{6}, 2 - \sqrt{6}", r"2 \pm \sqrt{6}"),
    ("1,2,-2,-3", "-3, -2, 1, 2"),
    (r"12\text{ and }13", "13, 12"),
    (r"\{1, 2\}", "2,1"),
    (r"x \in [1,2]", "[1, 2]"),
    # signs and marks
    (r"100\%", "100"),
    (r"\text{(C)}", "C"),
    ("25_{6}", "25_6"),
]
DIFFERENT = [
    (r"\frac{1}{2}", r"\frac{1}{3}"),
    ("0.333", r"\frac13"),
    ("(1,2)", "(2,1)"),
    ("(1,2)", "[1,2]"),
    ("(1,2)", "1,2"),
    ("1,2", "1,2,2"),
    ("1,2", "12"),
    (r"\sqrt{x^2}", "x"),
    ("x^2+1", "x^2-1"),
    ("10000_2", "10000"),
    ("100000000000000000000", "100000000000000000001"),
    (r"\begin{pmatrix} 1 & 2 \end{pmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"),
    (r"\text{odd}", r"\text{even}"),
    ("p - q", "q - p"),
    (r"\pi", "3.14159"),
    ("145", "-145"),
    (r"\frac{1}{0}", r"\frac{2}{0}"),
    ("", "0"),
]


@pytest.mark.parametrize(("answer", "gold"), SAME)
def test_minervas_rule_finds_the_same_value(answer: str, gold: str) -> None:
    assert minerva_equal(normalised_math(answer), normalised_math(gold))
    assert minerva_equal(normalised_math(gold), normalised_math(answer))
    assert equal(answer, gold)


@pytest.mark.parametrize(("answer", "gold"), ALSO_SAME)
def test_elements_are_compared_one_by_one(answer: str, gold: str) -> None:
    assert equal(answer, gold)
    assert equal(gold, answer)


@pytest.mark.parametrize(("answer", "gold"), DIFFERENT)
def test_what_is_not_the_same(answer: str, gold: str) -> None:
    assert not minerva_equal(normalised_math(answer), normalised_math(gold))
    assert not equal(answer, gold)
    assert not equal(gold, answer)


@pytest.mark.parametrize(
    "hostile",
    [
        "9^{9^{9^{9}}}",
        "1000!!!!",
        "(" * 5000,
        "{" * 300,
        r"\frac" * 100,
        "-" * 399,
        "1" * 10**6,
        r"\sqrt[0]{2}",
        "2^{99999}" * 40,
        "__import__('os')",
        r"\begin{pmatrix}",
        r"\frac{1}",
        "(1,2",
    ],
)
def test_whatever_a_model_writes_is_answered_soon(hostile: str) -> None:
    assert not same_value(hostile, "3")
    assert not equal(hostile, "3")


def test_agrees_with_sympy_on_random_formulas() -> None:
    sympy = pytest.importorskip("sympy")
    generator = random.Random(0)

    def formula(depth: int) -> tuple[str, Any]:
        if depth == 0:
            return generator.choice([("3", sympy.Integer(3)), ("x", sympy.Symbol("x")), (r"\pi", sympy.pi)])
        (a, x), (b, y) = formula(depth - 1), formula(depth - 1)
        return generator.choice(
            [
                (f"({a}+{b})", x + y),
                (f"({a}-{b})", x - y),
                (f"({a})({b})", x * y),
                (rf"\frac{{{a}}}{{{b}+10}}", x / (y + 10)),
                (rf"\sqrt{{{a}}}", sympy.sqrt(x)),
                (f"({a})^2", x**2),
            ]
        )

    formulas = [formula(1) for _ in range(8)] + [formula(2) for _ in range(3)]
    verdicts = []
    for text, value in formulas:
        for other, known in formulas:
            verdicts.append(same_value(text, other))
            assert verdicts[-1] == (sympy.expand(sympy.together(value - known)) == 0), (text, other)
    assert len(formulas) < sum(verdicts) < len(verdicts)


def test_all_gold_answers_of_math_are_found_and_equal_themselves(benchmarks: Path) -> None:
    rows = jsonl(benchmarks / "math/test.jsonl.gz")
    assert len(rows) == 5000
    right = 0
    for row in rows:
        gold = mathematics.math_gold({"solution": row["chain_of_thought"]})
        assert gold == row["answer"]
        text = normalised_math(gold)
        assert text
        written = f" Because.\nFinal Answer: The final answer is ${gold}$. I hope it is correct.\n\n"
        right += normalised_math(mathematics.math_answer(written)) == text
    # one gold answer has a line break, another a full stop inside its box, which Minerva's extraction does not expect
    assert right == 4998


def test_different_gold_answers_of_math_stay_different(benchmarks: Path) -> None:
    rows = jsonl(benchmarks / "math/test.jsonl.gz")
    golds = sorted({row["answer"] for row in rows})
    generator = random.Random(0)
    pairs = [generator.sample(golds, 2) for _ in range(600)]
    assert not [pair for pair in pairs if equal(*pair)]
