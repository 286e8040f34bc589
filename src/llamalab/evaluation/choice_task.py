"""lm-eval's multiple choice, with the paper's correction for how likely each choice is anyway."""

from typing import Any

import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.api.registry import register_metric
from lm_eval.api.task import ConfigurableTask


@register_metric(metric="acc_neutral", higher_is_better=True, output_type="multiple_choice", aggregation="mean")
def acc_neutral(value: float) -> float:
    """Passes on what NeutralisedChoice computes; registered so that task files can name it."""
    return value


class NeutralisedChoice(ConfigurableTask):
    """Multiple choice with contexts that say nothing about the answer.

    They are `metadata.neutral` of the task file where it has that, else the item's own `neutral`; a list of texts.

    Besides lm-eval's metrics it has `acc_neutral`: right if the correct choice has the largest log P(choice | context)
    minus the mean over neutral contexts of log P(choice | neutral). With the single neutral context "Answer:" this is
    the rule of the LLaMA paper (section 3.1, after Brown et al. 2020) for OpenBookQA and BoolQ.

    Args:
        config: the task file's content.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config={key: value for key, value in config.items() if key != "class"})

    def construct_requests(self, doc: dict[str, Any], ctx: str, **kwargs: Any) -> list[Instance]:
        """lm-eval's requests, one per choice; then the same choices after each neutral context."""
        requests: list[Instance] = super().construct_requests(doc, ctx, **kwargs)
        own = [request.args[1] for request in requests]
        about = {key: value for key, value in kwargs.items() if key == "metadata"}
        neutral = (self.config.metadata or {}).get("neutral") or doc["neutral"]
        pairs = [(context, choice) for context in neutral for choice in own]
        return requests + [
            Instance(request_type="loglikelihood", doc=doc, arguments=pair, idx=len(own) + index, **about)
            for index, pair in enumerate(pairs)
        ]

    def process_results(self, doc: dict[str, Any], results: list[tuple[float, bool]]) -> dict[str, Any]:
        """lm-eval's metrics from the first answers, and `acc_neutral` from all."""
        count = len(self.doc_to_choice(doc))
        found: dict[str, Any] = super().process_results(doc, results[:count])
        scores = np.array([score for score, _ in results]).reshape(-1, count)  # context, choice
        gain = scores[0] - scores[1:].mean(0)
        return {**found, "acc_neutral": float(gain.argmax() == self.doc_to_target(doc))}
