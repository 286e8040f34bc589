"""Final answers of MATH and GSM8k, votes, and the prompts' examples."""

import pytest

from llamalab.evaluation.answers import mathematics as maths
from llamalab.evaluation.answers import stock
from llamalab.evaluation.answers.equivalence import normalised_math

MATH = {"problem": "?", "solution": r"So it is $\boxed{\frac{1}{2}}$."}
GSM8K = {"question": "?", "answer": "He has 2*9=<<2*9=18>>18.\n#### 1,018"}


def final(answer: str) -> str:
    return f" Thus.\nFinal Answer: The final answer is ${answer}$. I hope it is correct.\n\n"


def test_math_takes_the_sentence_with_the_final_answer() -> None:
    assert maths.math_scores(MATH, [final("0.5")]) == {"paper_exact_match": 1, "equivalent": 1}
    assert maths.math_scores(MATH, [final(r"\frac{1}{3}")]) == {"paper_exact_match": 0, "equivalent": 0}
    assert maths.math_scores(MATH, [r" It is $\frac{1}{2}$."]) == {"paper_exact_match": 0, "equivalent": 0}
    # the first one counts
    assert maths.math_scores(MATH, [final("1/2") + final("7")])["paper_exact_match"] == 1


def test_minervas_normalisation_is_lm_evals() -> None:
    assert normalised_math(r"x=\frac12") == r"\frac{1}{2}"
    assert normalised_math("1,000 dollars") == "1000"
    assert normalised_math(r"$\text{even}$") == "even"
    assert normalised_math(r"90^\circ") == "90"


def test_four_worked_problems_of_minerva() -> None:
    shots = stock.minerva_shots()
    assert len(shots) == 4
    assert all(shot["solution"].endswith("I hope it is correct.") for shot in shots)
    assert [maths.math_answer(shot["solution"]) for shot in shots] == ["$[2,5)$", "$24$", "$16$", r"$-\frac{2}{3}$"]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (" 9 * 2 = 18. The answer is 18.", "18"),
        ("The answer is 18", "18"),
        ("The answer is $1,018.00.", "1018"),
        ("the answer is: -3", "-3"),
        ("The answer is -$5.50 in all", "-5.5"),
        ("The answer is 007.", "7"),
        ("The answer is .5", "0.5"),
        ("The answer is 3. The answer is 4.", "3"),
        ("It is 18.", None),
        ("The answer is unknown.", None),
    ],
)
def test_gsm8k_takes_the_number_after_the_answer_is(text: str, number: str | None) -> None:
    assert maths.gsm8k_number(text) == number


def test_gsm8k_beside_lm_evals_readings() -> None:
    def read(text: str) -> tuple[float, ...]:
        return tuple(maths.gsm8k_scores(GSM8K, [text]).values())

    assert read(" The answer is 1018.\n\nQ: More?") == (1, 1, 1)
    assert read(" The answer is 1018") == (1, 0, 1)  # strict-match loses the last digit without a full stop
    assert read(" That makes 1,018 apples") == (0, 0, 1)
    assert read(" The answer is 18.") == (0, 0, 0)


def test_majority_counts_and_breaks_ties_by_order() -> None:
    assert maths.majority(["3", "5", "5", "3", "5"]) == "5"
    assert maths.majority(["7", "3", "3", "7"]) == "7"
    assert maths.majority(["3", "7", "7", "3"]) == "3"
    assert maths.majority([]) is None


def test_votes_are_over_normalised_answers_and_silence_has_none() -> None:
    silent = " I do not know."
    texts = [final(r"\frac12"), final("7"), final(r"\frac{1}{2}"), silent, silent, silent]
    assert maths.math_majority_scores(MATH, [texts]) == {"maj1@k": 1, "sample_exact_match": pytest.approx(2 / 6)}
    assert maths.math_majority_scores(MATH, [[silent, silent]]) == {"maj1@k": 0, "sample_exact_match": 0}
    texts = ["The answer is 1,018.", "The answer is $1018", "The answer is 4.", "?", "?", "?"]
    assert maths.gsm8k_majority_scores(GSM8K, [texts]) == {"maj1@k": 1, "sample_exact_match": pytest.approx(2 / 6)}
    assert maths.gsm8k_majority_scores(GSM8K, [["?"]]) == {"maj1@k": 0, "sample_exact_match": 0}
