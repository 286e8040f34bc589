"""TruthfulQA (the paper's section 5.4 and Table 14): the record of answers, and lm-eval's likeness to references."""

from typing import Any

from llamalab.evaluation.answers.stock import stock_config

STOCK = "truthfulqa/truthfulqa_gen.yaml"
METRICS = ("bleu_acc", "rouge1_acc", "rougeL_acc")


def references(dataset: Any) -> Any:
    """The dataset with lm-eval's lists of true and false answers, each ending with a full stop."""
    return stock_config(STOCK)["process_docs"](dataset)


def similarity_scores(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Whether the answer is more like a true than like a false reference, by lm-eval's BLEU and ROUGE."""
    found = stock_config(STOCK)["process_results"](doc, results)
    return {metric: float(found[metric]) for metric in METRICS}
