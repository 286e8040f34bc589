"""What counts as the same answer in closed-book question answering."""

import pytest

from llamalab.evaluation.answers import question_answering as qa
from llamalab.evaluation.answers.text import final_answer, matches_any, normalised


@pytest.mark.parametrize(
    ("generation", "answer"),
    [
        (" Charles Darwin", "Charles Darwin"),
        (" Charles Darwin.", "Charles Darwin"),
        (" Charles Darwin\nQ: Who wrote Emma?\nA: Jane Austen.", "Charles Darwin"),
        (" Paris, France", "Paris"),
        (" July 4, 1776.", "July 4, 1776"),
        (" Washington, D.C.", "Washington, D.C"),
        (
            " It was written by Charles Darwin, an English naturalist.",
            "It was written by Charles Darwin, an English naturalist",
        ),
        ("\nCharles Darwin", ""),
        ("", ""),
        (".", ""),
    ],
)
def test_the_answer_ends_at_the_line_break_the_final_dot_or_comma(generation: str, answer: str) -> None:
    assert final_answer(generation) == answer


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("The Beatles", "beatles"),
        ("a  Tale of THE two\tcities", "tale of two cities"),
        ("An apple a day", "apple day"),
        ("U.S.A.", "usa"),
        ("AC/DC", "acdc"),
        ("Theatre", "theatre"),
        ("rock 'n' roll", "rock n roll"),
        ("the", ""),
    ],
)
def test_normalisation(text: str, result: str) -> None:
    assert normalised(text) == result


def test_any_alias_is_right_and_nothing_is_not() -> None:
    aliases = ["Sunset Blvd", "Sunset Boulevard", "The The"]
    assert matches_any("the sunset boulevard", aliases)
    assert matches_any("Sunset Blvd.", aliases)
    assert not matches_any("Sunset", aliases)
    assert not matches_any("the", aliases)
    assert not matches_any("", ["", "The"])


def test_three_readings_of_one_generation() -> None:
    doc = {"question": "when", "answer": ["July 4, 1776", "the fourth of July"]}

    def read(text: str) -> tuple[float, ...]:
        return tuple(qa.natural_questions_scores(doc, [text]).values())

    assert list(qa.natural_questions_scores(doc, ["x"])) == ["paper_exact_match", "line_exact_match", "exact_match"]
    assert read(" July 4, 1776.") == (1, 1, 0)  # lm-eval stops at the first comma
    assert read(" July 4, 1776") == (0, 1, 0)  # so does the paper where nothing follows
    assert read(" the fourth of July, of course") == (1, 0, 1)
    assert read(" fourth of July\nQ: and then?") == (1, 1, 1)
    assert read(" fifth of July") == (0, 0, 0)


def test_lm_evals_triviaqa_keeps_articles() -> None:
    doc = {"question": "Who?", "answer": {"value": "Beatles", "aliases": ["Beatles", "Fab Four"]}}
    found = qa.trivia_qa_scores(doc, [" The Beatles"])
    assert (found["paper_exact_match"], found["exact_match"]) == (1, 0)
    found = qa.trivia_qa_scores(doc, [" fab four."])
    assert (found["paper_exact_match"], found["exact_match"]) == (1, 1)


def test_questions_look_as_in_the_papers_figure_3() -> None:
    assert qa.sentence_prompt({"question": "who wrote the book the origin of species"}) == (
        "Q: Who wrote the book the origin of species?\nA:"
    )
    assert qa.sentence_prompt({"question": "what does he play ? "}) == "Q: What does he play?\nA:"
    assert qa.plain_prompt({"question": "in Scotland a bothy is a"}) == "Q: in Scotland a bothy is a\nA:"
