"""Tasks that sample every question k times."""

from typing import Any

from lm_eval.api.task import ConfigurableTask
from lm_eval.filters import build_filter_ensemble


class SampledTask(ConfigurableTask):
    """A generation task whose rule sees all k samples of a question at once.

    k is the paper's (`repeats` in the task file), unless the run says otherwise (`metadata.samples`, to try things
    out): then no metric is the paper's, and the table says so.

    Args:
        config: the task file's content.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        own = {key: value for key, value in config.items() if key != "class"}
        metadata = dict(config["metadata"])
        k = metadata.get("samples") or config["repeats"]
        if k != config["repeats"]:
            metadata |= {"paper_metric": None, "note": f"k = {k}; the paper's is {config['repeats']}"}
        super().__init__(config={**own, "metadata": metadata, "repeats": k})
        # lm-eval keeps the first sample alone unless a filter says how many
        self._filters = [build_filter_ensemble("none", [["take_first_k", {"k": k}]])]
