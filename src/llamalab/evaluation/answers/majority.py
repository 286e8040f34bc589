"""Tasks that sample every question k times."""

from typing import Any

from lm_eval.filters import build_filter_ensemble

from llamalab.evaluation.answers.stock import StockTask


class SampledTask(StockTask):
    """A generation task whose rule sees all k samples of a question at once.

    k is the paper's, `metadata.k`, unless the run says otherwise (`metadata.samples`, to try things out): then the
    metric is no longer the paper's, and the table says so.

    Args:
        config: the task file's content.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        metadata = dict(config["metadata"])
        k = metadata.get("samples") or metadata["k"]
        if k != metadata["k"]:
            metadata["paper_metric"] = None
            metadata["note"] = f"k = {k}; the paper's is {metadata['k']}"
        super().__init__({**config, "metadata": metadata, "repeats": k})
        # lm-eval keeps the first sample alone unless a filter says how many
        self._filters = [build_filter_ensemble("none", [["take_first_k", {"k": k}]])]
