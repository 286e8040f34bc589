"""lm-eval's few-shot multiple choice, with fewer examples where the prompt would overflow the model's context."""

from typing import Any

from lm_eval.api.model import TemplateLM
from lm_eval.api.task import ConfigurableTask


class FittedShots(ConfigurableTask):
    """Shows as many of its few-shot documents as fit, dropping the last ones first.

    MMLU's own code does so (hendrycks/test, evaluate.py: one example fewer until the prompt fits); lm-eval cuts the
    beginning of the prompt instead, with the instruction in it.

    Args:
        config: the task file's content.

    Attributes:
        fewer_shots: the documents so far that got fewer examples than `num_fewshot`.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config={key: value for key, value in config.items() if key != "class"})
        self.fewer_shots = 0

    def use_model(self, lm: TemplateLM) -> None:
        """What fits depends on the model's tokenizer and context; call before requests are built."""
        self.lm = lm

    def fewshot_context(self, doc: dict[str, Any], num_fewshot: int, *args: Any, **kwargs: Any) -> str:
        """The instruction, the examples that fit, and the question."""
        for shots in range(num_fewshot, -1, -1):
            prompt: str = super().fewshot_context(doc, shots, *args, **kwargs)
            # the answer, one letter, takes one more token but is predicted, not read
            if len(self.lm.tok_encode(prompt)) <= self.lm.max_length:
                break
        self.fewer_shots += shots < num_fewshot
        return prompt

    def counts(self) -> dict[str, int]:
        """How many documents got fewer examples."""
        return {f"questions with fewer than {self.config.num_fewshot} shots": self.fewer_shots}
