"""lm-eval tasks whose answers are programs: what a model wrote is run, and pass@k counts what ran to its end."""

from abc import abstractmethod
from functools import cache
from typing import Any

from lm_eval.api.registry import register_metric
from lm_eval.api.task import ConfigurableTask

from llamalab.common.console import console
from llamalab.common.errors import UserError
from llamalab.evaluation.benchmarks import DatasetMissing
from llamalab.evaluation.code.limits import Limits
from llamalab.evaluation.code.pass_at_k import pass_at_k
from llamalab.evaluation.code.problems import humaneval_program, mbpp_program
from llamalab.evaluation.code.sandbox import Program, Sandbox, cores, describe
from llamalab.evaluation.progress import progress

_METRIC = "pass@"
_OWN_KEYS = ("class", "limits")


def _passed_on(value: float) -> float:
    """What `CodeTask` computes; registered so that task files can name it."""
    return value


for _k in (1, 10, 80, 100):
    register_metric(metric=f"{_METRIC}{_k}", higher_is_better=True, output_type="generate_until", aggregation="mean")(
        _passed_on
    )


class CannotExecute(DatasetMissing):
    """A task whose programs may not or cannot be run here; the other tasks still are."""


class CodeTask(ConfigurableTask):
    """Samples several programs for each problem, runs them, and estimates pass@k for every k in its metric list.

    Besides lm-eval's keys a task file has `limits`. The run's metadata has `allow_code_execution`, which must be true,
    and `samples`, which replaces the file's `repeats` to try things out. A pass@k with k above the number of samples
    cannot be estimated and is left out, with a note.

    Args:
        config: the task file's content.

    Raises:
        CannotExecute: running programs was not allowed, or is not possible here.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        metadata, metrics = dict(config["metadata"]), config["metric_list"]
        if not metadata.get("allow_code_execution"):
            raise CannotExecute(
                f"{config['task']} runs programs that the model writes; set allow_code_execution=true to allow it "
                "(docs/code_execution.md says what confines them)"
            )
        self._limits = Limits(**config["limits"])
        metadata |= {"limits": config["limits"], "isolation": isolation(self._limits)}
        samples = metadata.get("samples") or config["repeats"]
        estimable = [metric for metric in metrics if _k_of(metric["metric"]) <= samples]
        self._left_out = [metric["metric"] for metric in metrics if metric not in estimable]
        if metadata["paper_metric"] in self._left_out:
            metadata["paper_metric"] = None
        own = {"metadata": metadata, "repeats": samples, "metric_list": estimable}
        super().__init__(config={key: value for key, value in {**config, **own}.items() if key not in _OWN_KEYS})

    @abstractmethod
    def program(self, doc: dict[str, Any], completion: str) -> Program:
        """The problem's program with this completion, and its tests."""

    def notes(self) -> list[str]:
        """What differs from the paper, for the table."""
        return [f"no {metric}: {self.config.repeats} samples a problem are too few for it" for metric in self._left_out]

    def apply_filters(self) -> None:
        """Runs all programs of the task, several at a time; their verdicts are what lm-eval scores."""
        programs = [self.program(each.doc, text) for each in self.instances for text in each.resps]
        with Sandbox(self._limits, cores()) as sandbox, progress("Running programs", len(programs)) as advance:
            verdicts = iter(sandbox.run(programs, advance))
        for each in self.instances:
            answers = [next(verdicts) for _ in each.resps]
            each.filtered_resps["none"] = [{"passed": one.passed, "reason": one.reason} for one in answers]

    def process_results(self, doc: dict[str, Any], results: list[list[dict[str, Any]]]) -> dict[str, float]:
        """pass@k of one problem by metric."""
        (verdicts,) = results
        passed = sum(verdict["passed"] for verdict in verdicts)
        names = [metric["metric"] for metric in self.config.metric_list]
        return {name: pass_at_k(len(verdicts), passed, _k_of(name)) for name in names}


class HumanEval(CodeTask):
    """Chen et al. (2021): complete a function from its signature and docstring."""

    def program(self, doc: dict[str, Any], completion: str) -> Program:
        """See `humaneval_program`."""
        return humaneval_program(doc, completion)


class MBPP(CodeTask):
    """Austin et al. (2021): write a function from a sentence and three tests."""

    def program(self, doc: dict[str, Any], completion: str) -> Program:
        """See `mbpp_program`."""
        return mbpp_program(doc, completion)


@cache
def isolation(limits: Limits) -> str:
    """What confines programs on this system, in one line; printed the first time.

    Raises:
        CannotExecute: nothing can be run here.
    """
    try:
        with Sandbox(limits, 1) as sandbox:
            found = describe(sandbox.facts)
    except UserError as error:
        raise CannotExecute(str(error)) from None
    _print_once(found)
    return found


@cache
def _print_once(found: str) -> None:
    console.print(f"Generated programs are confined: {found}", soft_wrap=True)


def _k_of(metric: str) -> int:
    name, k = metric[: len(_METRIC)], metric[len(_METRIC) :]
    if name != _METRIC or not k.isdigit():
        raise UserError(f"metric_list: '{metric}' is not pass@<k>; code tasks have no other metric")
    return int(k)
