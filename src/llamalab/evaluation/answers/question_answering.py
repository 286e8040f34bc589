"""Closed-book question answering in the paper's format (section 3.2, appendix A)."""

from typing import Any

from llamalab.evaluation.answers import stock
from llamalab.evaluation.answers.text import final_answer, first_line, matches_any

Doc = dict[str, Any]


def sentence_prompt(doc: Doc) -> str:
    """The question as a sentence, and where its answer goes.

    NaturalQuestions and WebQuestions are search queries ("who wrote the book the origin of species"); the paper's
    figure 3 prints them with a capital and a question mark.
    """
    question = doc["question"].strip().rstrip("?").rstrip()
    return f"Q: {question[:1].upper()}{question[1:]}?\nA:"


def plain_prompt(doc: Doc) -> str:
    """The question as it stands (TriviaQA's are sentences already, figure 3), and where its answer goes."""
    return f"Q: {doc['question'].strip()}\nA:"


def natural_questions_answers(doc: Doc) -> list[str]:
    """All right answers; few-shot examples show the first."""
    return list(doc["answer"])


def web_questions_answers(doc: Doc) -> list[str]:
    """All right answers; few-shot examples show the first."""
    return list(doc["answers"])


def trivia_qa_answers(doc: Doc) -> list[str]:
    """All right answers, the canonical one first, which few-shot examples show."""
    answer = doc["answer"]
    return [answer["value"], *(alias for alias in answer["aliases"] if alias != answer["value"])]


def natural_questions_scores(doc: Doc, results: list[str]) -> dict[str, float]:
    """The paper's exact match and lm-eval's of nq_open."""
    return _scores(results[0], natural_questions_answers(doc), "nq_open/nq_open.yaml")


def web_questions_scores(doc: Doc, results: list[str]) -> dict[str, float]:
    """The paper's exact match and lm-eval's of nq_open (its webqs ranks the right answers and generates nothing)."""
    return _scores(results[0], web_questions_answers(doc), "nq_open/nq_open.yaml")


def trivia_qa_scores(doc: Doc, results: list[str]) -> dict[str, float]:
    """The paper's exact match and lm-eval's of triviaqa."""
    return _scores(results[0], trivia_qa_answers(doc), "triviaqa/default.yaml")


def _scores(generation: str, answers: list[str], stock_file: str) -> dict[str, float]:
    """Three readings of one generation.

    `paper_exact_match` ends it at the final dot or comma (`text.final_answer`); `line_exact_match` takes the whole
    first line, by the same normalisation; `exact_match` is lm-eval's, which ends it at the first dot or comma.
    """
    return {
        "paper_exact_match": float(matches_any(final_answer(generation), answers)),
        "line_exact_match": float(matches_any(first_line(generation), answers)),
        "exact_match": stock.exact_match(stock_file, generation, answers),
    }


def unique_questions(dataset: Any) -> Any:
    """The dataset without later rows of a question that it already has (`question_id`).

    TriviaQA's `rc` is its web and its Wikipedia part, one after the other, and questions are in both.
    """
    first: dict[str, int] = {}
    for index, name in enumerate(dataset["question_id"]):
        first.setdefault(name, index)
    return dataset.select(first.values())
