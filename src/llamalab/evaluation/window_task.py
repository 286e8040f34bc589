"""Perplexity of one long text in windows of a fixed number of tokens."""

import math
from collections.abc import Sequence
from typing import Any

from datasets import Dataset
from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask


def perplexity(values: Sequence[float]) -> float:
    """exp of minus the mean, over windows, of their mean log-likelihoods."""
    return math.exp(-sum(values) / len(values))


class WindowPerplexity(ConfigurableTask):
    r"""The protocol behind most published WikiText-2 perplexities of LLaMA, from GPTQ's code (Frantar et al. 2022).

    All rows are joined by "\n\n", encoded once (BOS before the first token), and cut into windows of
    `metadata.window` tokens without overlap; an incomplete last one is dropped. In each, every token but the first is
    predicted from those before it in the window. A model with a shorter context gets windows of its own length, which
    are another, higher, quantity; that is noted.

    Args:
        config: the task file's content.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.windows: Dataset | None = None
        super().__init__(config={key: value for key, value in config.items() if key != "class"})

    def use_model(self, lm: Any) -> None:
        """Cuts the text into the model's tokens; call before requests are built."""
        self.length = min(self.config.metadata["window"], lm.max_length)
        tokens = lm.tok_encode("\n\n".join(super().test_docs()["text"]))
        starts = range(0, len(tokens) - self.length + 1, self.length)
        self.windows = Dataset.from_list([{"text": "", "tokens": tokens[at : at + self.length]} for at in starts])

    def test_docs(self) -> Dataset:
        """The windows; before the model is known, the text's rows."""
        return self.windows if self.windows is not None else super().test_docs()

    def construct_requests(self, doc: dict[str, Any], ctx: str, **kwargs: Any) -> Instance:
        """One window as the model's tokens."""
        about = {key: value for key, value in kwargs.items() if key == "metadata"}
        return Instance("loglikelihood_tokens", doc=doc, arguments=("", doc["tokens"]), idx=0, **about)

    def process_results(self, doc: dict[str, Any], results: list[tuple[float, bool]]) -> dict[str, Any]:
        """The window's mean log-likelihood per predicted token."""
        ((score, _),) = results
        return {"perplexity": score / (len(doc["tokens"]) - 1)}

    def notes(self) -> list[str]:
        """Says so if the windows are not those of the protocol."""
        wanted = self.config.metadata["window"]
        if self.length == wanted:
            return []
        return [f"windows of {self.length} tokens, the model's context, where published figures use {wanted}"]
