"""lm-eval's multiple choice, decided by the perplexity of the choices."""

from typing import Any

import numpy as np
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_metric
from lm_eval.api.task import ConfigurableTask


@register_metric(metric="acc_perplexity", higher_is_better=True, output_type="multiple_choice", aggregation="mean")
def acc_perplexity(value: float) -> float:
    """Passes on what PerplexityChoice computes; registered so that task files can name it."""
    return value


class PerplexityChoice(ConfigurableTask):
    """Multiple choice by the lowest perplexity per token of the choice in its context.

    The LLaMA paper says so for CrowS-Pairs (section 5.2: "the perplexity of both sentences") and WinoGender (section
    5.3: "the perplexity of the continuations"). lm-eval compares summed log-likelihoods, which prefer short choices.
    Whether the right choice won goes into the metric that `metadata.paper_metric` names.

    Args:
        config: the task file's content.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config={key: value for key, value in config.items() if key != "class"})

    def use_model(self, lm: TemplateLM) -> None:
        """Perplexity is per token, so the model's tokenizer is needed; call before requests are built."""
        self.lm = lm

    def process_results(self, doc: dict[str, Any], results: list[tuple[float, bool]]) -> dict[str, Any]:
        """lm-eval's metrics, and the paper's."""
        found: dict[str, Any] = super().process_results(doc, results)
        context = self.fewshot_context(doc, 0)
        delimiter = self.config.target_delimiter
        sizes = [self._tokens(context, delimiter + choice) for choice in self.doc_to_choice(doc)]
        per_token = np.array([score for score, _ in results]) / np.array(sizes)
        right = float(per_token.argmax() == int(self.doc_to_target(doc)))
        return {**found, self.config.metadata["paper_metric"]: right}

    def _tokens(self, context: str, continuation: str) -> int:
        """Tokens that are scored: those of the continuation in its context, or after BOS if there is none."""
        if context:
            return len(self.lm._encode_pair(context, continuation)[1])
        return len(self.lm.tok_encode(continuation, add_special_tokens=False))
