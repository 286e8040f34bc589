"""MATH and GSM8k in Minerva's setup (the paper's section 3.4 and Table 7)."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from llamalab.evaluation.answers import stock
from llamalab.evaluation.answers.equivalence import equal, minerva_equal, normalised_math
from llamalab.evaluation.benchmarks import fingerprint, load

Doc = dict[str, Any]

GSM8K = "gsm8k/gsm8k-cot.yaml"
NUMBER = re.compile(r"the answer is:?\s*(-?)\s*\$?\s*(-?)(\d[\d,]*(?:\.\d+)?|\.\d+)", re.IGNORECASE)
NO_ANSWER = "[invalidanswer]"


def load_subjects(dataset: str, subsets: list[str], **metadata: Any) -> Any:
    """MATH as one dataset; the hub has its seven subjects as configurations of their own, local files have all."""
    if fingerprint(dataset, **metadata) == fingerprint(dataset, **metadata, subset=subsets[0]):
        return load(dataset, **metadata)
    import datasets

    parts = [load(dataset, **metadata, subset=subset) for subset in subsets]
    return {split: datasets.concatenate_datasets([part[split] for part in parts]) for split in parts[0]}


def math_gold(doc: Doc) -> str:
    """The answer in the last box of the reference solution, as it stands there."""
    boxed = stock.minerva().last_boxed_only_string(doc["solution"])
    assert boxed is not None, doc["solution"]
    gold: str = stock.minerva().remove_boxed(boxed)
    return gold


def math_answer(generation: str) -> str:
    """What a generation gives as its final answer, as it stands there; NO_ANSWER if it gives none."""
    answer: str = stock.minerva().get_unnormalized_answer(generation)
    return answer


def math_scores(doc: Doc, results: list[str]) -> dict[str, float]:
    """Minerva's rule, and equality element by element."""
    answer, gold = math_answer(results[0]), math_gold(doc)
    return {
        "paper_exact_match": float(minerva_equal(normalised_math(answer), normalised_math(gold))),
        "equivalent": float(equal(answer, gold)),
    }


def math_majority_scores(doc: Doc, results: list[list[str]]) -> dict[str, float]:
    """maj1@k, and the mean over the k samples."""
    gold = normalised_math(math_gold(doc))
    answers = [normalised_math(math_answer(text)) for text in results[0]]
    right = {answer: minerva_equal(answer, gold) for answer in set(answers)}
    winner = majority([answer for answer in answers if answer != normalised_math(NO_ANSWER)])
    return {
        "maj1@k": float(winner is not None and right[winner]),
        "sample_exact_match": sum(right[answer] for answer in answers) / len(answers),
    }


def gsm8k_number(text: str) -> str | None:
    """The number after "The answer is" as a plain decimal, None if there is none."""
    found = NUMBER.search(text)
    if not found:
        return None
    whole, _, decimals = found[3].replace(",", "").partition(".")
    decimals = decimals.rstrip("0")
    number = (whole.lstrip("0") or "0") + (f".{decimals}" if decimals else "")
    return f"-{number}" if "-" in (found[1], found[2]) and number != "0" else number


def gsm8k_gold(doc: Doc) -> str:
    """The number behind the four hashes of the reference answer."""
    gold = gsm8k_number("The answer is " + doc["answer"].split("####")[-1].strip())
    assert gold is not None, doc["answer"]
    return gold


def gsm8k_scores(doc: Doc, results: list[str]) -> dict[str, float]:
    """The number after "The answer is", and lm-eval's two readings (gsm8k_cot's strict-match and flexible-extract).

    strict-match loses the last digit of an answer that no full stop follows, so it can be below the first.
    """
    text, reference = results[0], doc["answer"].split("####")[-1].strip()
    return {
        "paper_exact_match": float(gsm8k_number(text) == gsm8k_gold(doc)),
        "exact_match": stock.exact_match(GSM8K, text, [reference], "strict-match"),
        "exact_match_flexible": stock.exact_match(GSM8K, text, [reference], "flexible-extract"),
    }


def gsm8k_majority_scores(doc: Doc, results: list[list[str]]) -> dict[str, float]:
    """maj1@k, and the mean over the k samples."""
    gold = gsm8k_gold(doc)
    answers = [gsm8k_number(text) for text in results[0]]
    return {
        "maj1@k": float(majority([answer for answer in answers if answer is not None]) == gold),
        "sample_exact_match": sum(answer == gold for answer in answers) / len(answers),
    }


def majority(answers: Sequence[str]) -> str | None:
    """The most frequent answer, of equally frequent ones the one sampled first; None if there are none.

    Samples without an answer have no vote (Minerva does not say; they cannot be right).
    """
    return Counter(answers).most_common(1)[0][0] if answers else None
