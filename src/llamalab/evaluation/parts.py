"""What is kept of each finished task, so that an interrupted evaluation goes on where it was."""

import json
import shutil
from pathlib import Path
from typing import Any

from llamalab.common.files import hash_of, read_json, write_json, write_text

FOLDER = "finished"
SAMPLES = "samples_{}.jsonl"


class Parts:
    """The finished tasks of one evaluation: lm-eval's results and samples, and what was counted and noted.

    Args:
        out: where the scores go; `samples_<task>.jsonl` stay there, the rest is in `finished/` until all is done.
        inputs: everything that can change a score; what other inputs gave is never taken.
        data: per task, what its own data are; it counts for that task only.
    """

    def __init__(self, out: Path, inputs: dict[str, Any], data: dict[str, Any]) -> None:
        self.out = out
        self.inputs = inputs
        self.data = data

    def get(self, task: str) -> dict[str, Any] | None:
        """What `put` was given of a task (its samples without texts), None if it is not there."""
        path = self._path(task)
        if not path.is_file():
            return None
        part: dict[str, Any] = read_json(path)
        return part if part["key"] == self._key(task) else None

    def put(self, task: str, results: dict[str, Any], counts: dict[str, int], notes: list[str]) -> dict[str, Any]:
        """Writes the samples, then what `get` gives back, which it returns.

        Args:
            task: its name.
            results: of lm-eval's `simple_evaluate` on it alone.
            counts: how often something happened, by what.
            notes: remarks on its data or its protocol.
        """
        from lm_eval.utils import handle_non_serializable

        samples = results["samples"][task]
        lines = [json.dumps(sample, default=handle_non_serializable, ensure_ascii=False) for sample in samples]
        write_text(self.out / SAMPLES.format(task), "".join(f"{line}\n" for line in lines))
        metadata = results["configs"][task].get("metadata") or {}
        kept = [_scores(sample, metadata.get("domains")) for sample in samples]
        without_texts = {**results, "samples": {task: kept}}
        part = {"key": self._key(task), "results": without_texts, "counts": counts, "notes": notes}
        plain: dict[str, Any] = json.loads(json.dumps(part, default=handle_non_serializable))
        write_json(self._path(task), plain)
        return plain

    def clear(self) -> None:
        """Forgets the finished tasks, whose results are then elsewhere."""
        shutil.rmtree(self.out / FOLDER, ignore_errors=True)

    def _key(self, task: str) -> str:
        return hash_of([self.inputs, self.data.get(task)])

    def _path(self, task: str) -> Path:
        return self.out / FOLDER / f"{task}.json"


def _scores(sample: dict[str, Any], domains: str | None) -> dict[str, Any]:
    """A sample's metrics, its filter, and the domains it belongs to."""
    kept = {metric: sample[metric] for metric in sample["metrics"]} | {"filter": sample["filter"]}
    if domains is not None:
        found = sample["doc"][domains]
        kept["domains"] = found if isinstance(found, list) else [found]
    return kept
