"""A suite's scores of a model that is being trained, for the training loop's `callbacks.evaluate`."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partialmethod
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from llamalab.checkpoint.tokenizer import Tokenizer, load_tokenizer
from llamalab.common.configs import closest, repository_folder
from llamalab.common.console import progress_console
from llamalab.common.errors import UserError
from llamalab.evaluation import items, tasks
from llamalab.evaluation.run import merged, run_task, suite_rows
from llamalab.evaluation.suites import composed
from llamalab.model.layers import parameter_device
from llamalab.model.llama import Llama


class Evaluate:
    """Scores the model on a suite as `llamalab eval` does, without files: the figures go into the run's own log.

    Args:
        suite: name of a file in eval/suites.
        every_tokens: training tokens from one evaluation to the next; the training loop keeps to it.
        limit: only the first so many documents of each task; None takes all.
        batch_tokens: padded tokens per forward pass.
        benchmarks_dir: a local folder of the benchmarks' files; None loads them from the hub.
        artifacts_dir: where the held-out documents of the corpus are, for suites that are made of them.

    Raises:
        ValueError: a number below 1.
    """

    def __init__(
        self,
        suite: str,
        every_tokens: int,
        limit: int | None,
        batch_tokens: int,
        benchmarks_dir: str | None,
        artifacts_dir: str,
    ) -> None:
        for key, value in (("every_tokens", every_tokens), ("limit", limit), ("batch_tokens", batch_tokens)):
            if value is not None and value < 1:
                raise ValueError(f"callbacks.evaluate.{key}: {value} must be at least 1")
        self.suite = suite
        self.every_tokens = every_tokens
        self.limit = limit
        self.batch_tokens = batch_tokens
        self.benchmarks_dir = benchmarks_dir
        self.artifacts_dir = artifacts_dir

    def prepare(self, config: dict[str, Any], tokenizer: Path) -> None:
        """Finds the suite, its tasks and their held-out items, and reads the tokenizer.

        Args:
            config: the run's resolved config.
            tokenizer: the tokenizer that the corpus was made with.

        Raises:
            UserError: an unknown suite or task, or no held-out documents for a suite that needs them.
        """
        self._tokenizer: Tokenizer = load_tokenizer(tokenizer)
        suite = composed(read_suite(self.suite))
        tasks.quiet(offline=self.benchmarks_dir is not None)
        self._limit = min((limit for limit in (self.limit, suite["limit"]) if limit is not None), default=None)
        # programs that a model writes are run, and its texts sent to a scorer, when its checkpoint is scored
        for_tasks: dict[str, Any] = {"benchmarks_dir": self.benchmarks_dir, "dataset_files": {}, "samples": None}
        for_tasks |= {"scorer": {}, "allow_code_execution": False}
        self._manager = tasks.task_manager(suite["tasks"], for_tasks)
        self._folder = tempfile.TemporaryDirectory(prefix="llamalab_evaluate_")  # gone with this object
        folder = Path(self._folder.name)
        documents = items.validation_files(self.artifacts_dir, config) if suite["heldout"] else {}
        self._data, gaps = items.build(suite["heldout"], documents, folder / "items")
        self._problems = [f"{gap['task']} on {gap['domain']} is not scored ({gap['reason']})" for gap in gaps]
        self._tasks = []
        for name in suite["tasks"]:
            if name in suite["heldout"]:
                self._tasks.append(tasks.heldout(self._manager, name, self._data[name], folder / "cache"))
                continue
            try:
                loaded, missing = tasks.load(self._manager, [name])
            except UserError as error:
                loaded, missing = [], [{"task": name, "reason": str(error)}]
            self._tasks += loaded
            self._problems += [f"{gap['task']} is not scored ({gap['reason']})" for gap in missing]

    def __call__(self, model: nn.Module) -> tuple[dict[str, float], list[str]]:
        """The score of each task and metric as `<task>/<metric>`, its standard error as `<task>/<metric>_stderr`.

        The paper's metric comes first of its task's. Also what could not be scored, a sentence each.
        """
        from llamalab.evaluation.language_model import CheckpointLM

        assert isinstance(model, Llama)
        lm = CheckpointLM(model, self._tokenizer, self.batch_tokens, parameter_device(model))
        figures: dict[str, float] = {}
        problems = list(self._problems)
        for task in self._tasks:
            try:
                with _silent():
                    parts = [run_task(part, lm, {}, self._limit, self._manager) for part in task.tasks.values()]
                    results = merged([task], parts)
            except Exception as error:
                problems.append(f"{task.name} failed ({str(error).splitlines()[0] if str(error) else repr(error)})")
                continue
            names = [group.name for group in task.groups]
            for row in suite_rows(results, task, [*self._data.get(task.name, {})]):
                # of a group its own figures: nobody watches 57 subjects
                if row["domain"] is None and row["task"] in (names or [task.name]):
                    figures[f"{row['task']}/{row['metric']}"] = row["value"]
                    if row["stderr"] is not None:
                        figures[f"{row['task']}/{row['metric']}_stderr"] = row["stderr"]
        return figures, problems


def read_suite(name: str) -> dict[str, Any]:
    """A file of eval/suites. Raises UserError with the nearest name if there is none."""
    folder = repository_folder("eval") / "suites"
    path = folder / f"{name}.yaml"
    if not path.is_file():
        names = [found.stem for found in folder.glob("*.yaml")]
        raise UserError(f"callbacks.evaluate.suite: no suite '{name}' in {folder}{closest(name, names)}")
    suite: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return suite


@contextmanager
def _silent() -> Iterator[None]:
    """No bars inside the training's: neither ours nor lm-eval's, which are tqdm's."""
    from tqdm import tqdm

    before, make = progress_console.quiet, tqdm.__init__
    progress_console.quiet = True
    tqdm.__init__ = partialmethod(make, disable=True)
    try:
        yield
    finally:
        progress_console.quiet, tqdm.__init__ = before, make
