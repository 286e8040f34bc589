"""lm-eval tasks of a suite: those in eval/tasks by name, those over held-out documents once per domain."""

import copy
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llamalab.common.configs import closest, repository_folder
from llamalab.common.errors import UserError
from llamalab.common.files import hash_of, sha256_file
from llamalab.evaluation import benchmarks

if TYPE_CHECKING:
    from lm_eval.api.group import Group
    from lm_eval.api.task import Task
    from lm_eval.tasks import TaskManager


@dataclass(frozen=True)
class SuiteTask:
    """A task or group that a suite names, its data loaded.

    Attributes:
        name: as in the suite.
        tasks: itself, or the group's tasks, by name.
        groups: the group and the groups in it, outermost first; empty for a task.
    """

    name: str
    tasks: "dict[str, Task]"
    groups: "list[Group]"


def quiet(offline: bool) -> None:
    """Call before lm-eval is first imported: no bars or chatter beside our own, and no network if `offline`."""
    if offline:
        os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
    os.environ.setdefault("TQDM_DISABLE", "1")
    logging.getLogger("lm_eval").setLevel(logging.ERROR)


def tasks_folder() -> Path:
    """Where the task files are."""
    return repository_folder("eval") / "tasks"


def tasks_hash() -> str:
    """Changes with any task file."""
    folder = tasks_folder()
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".yaml", ".py"))
    return hash_of({str(path.relative_to(folder)): sha256_file(path) for path in files})


def task_manager(names: list[str], metadata: dict[str, Any]) -> "TaskManager":
    """lm-eval's index of our task files.

    Args:
        names: of tasks and groups that must be in it.
        metadata: added to every task's, so that `benchmarks_dir` reaches what loads its data.

    Raises:
        UserError: one of `names` is not among them.
    """
    from lm_eval.tasks import TaskManager

    _know_stock_tasks()
    # lm-eval's own 10,000 tasks take seconds to index; ours take none.
    manager = TaskManager(include_path=str(tasks_folder()), include_defaults=False, metadata=metadata)
    known = [*manager.all_subtasks, *manager.all_groups]
    for name in names:
        if name not in known:
            raise UserError(f"suite.tasks: no task '{name}' in {tasks_folder()}{closest(name, known)}")
    return manager


def _know_stock_tasks() -> None:
    """Lets a task file say `include: !stock arc/arc_easy.yaml` for a file among lm-eval's own tasks.

    `include` takes only paths, and where lm-eval is installed differs from machine to machine.
    """
    import lm_eval.tasks
    import yaml
    from lm_eval.tasks import _yaml_loader

    folder = Path(lm_eval.tasks.__file__).parent

    def path_of(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
        return str(folder / str(loader.construct_scalar(node)))

    yaml.add_constructor("!stock", path_of, Loader=_yaml_loader._Base)


def load(manager: "TaskManager", names: list[str]) -> tuple[list[SuiteTask], list[dict[str, str]]]:
    """The tasks with their data, and those whose data cannot be had as `task, reason`.

    Raises:
        UserError: a dataset is damaged, or a task has fewer few-shot documents than it shows.
    """
    from datasets import disable_progress_bars

    disable_progress_bars()
    loaded, missing = [], []
    for name in names:
        try:
            found = manager.load([name])
        except benchmarks.DatasetMissing as error:
            missing.append({"task": name, "reason": str(error)})
            continue
        for task_name, task in found["tasks"].items():
            check_shots(task_name, task)
        loaded.append(SuiteTask(name, found["tasks"], [*found.get("groups", {}).values()]))
    return loaded, missing


def check_shots(name: str, task: "Task") -> None:
    """Raises UserError if the task shows more documents than its few-shot split has."""
    shots, sampler = task.config.num_fewshot or 0, getattr(task, "sampler", None)
    if shots and sampler is not None:
        split = task.config.fewshot_split or task.config.training_split or task.config.validation_split
        # a document is never shown to itself
        fixed = getattr(getattr(task, "fewshot_cfg", None), "samples", None) is not None
        available = len(sampler.df) - (not fixed and (split is None or split == task.config.test_split))
        if shots > available:
            raise UserError(
                f"{name}: num_fewshot is {shots} but its few-shot split '{split or task.config.test_split}' has only "
                f"{available} documents to show; lower num_fewshot or give it more documents"
            )


def data_fingerprints(tasks: "dict[str, Task]") -> dict[str, Any]:
    """What each benchmark task's data are, by task."""
    return {
        name: benchmarks.fingerprint(**{**(task.config.metadata or {}), **task.config.dataset_kwargs})
        for name, task in tasks.items()
        if task.config.custom_dataset is not None and "dataset" in (task.config.dataset_kwargs or {})
    }


def notes_of(task: "Task") -> list[str]:
    """What differs from the paper in the data or the protocol of a task, as far as it can tell."""
    remarks = getattr(task, "notes", None)
    notes: list[str] = list(remarks()) if remarks is not None else []
    metadata = task.config.metadata or {}
    notes += [metadata["note"]] if "note" in metadata else []
    dataset = (task.config.dataset_kwargs or {}).get("dataset")
    local = metadata.get("benchmarks_dir") is not None
    if task.config.custom_dataset is not None and dataset is not None and local:
        note = benchmarks.note_of(dataset)
        notes += [note] if note is not None else []
    return notes


def heldout(manager: "TaskManager", name: str, files: dict[str, Path], cache: Path) -> SuiteTask:
    """The suite's task over held-out documents: `per_domain`'s group."""
    group = per_domain(manager, name, files, cache)
    return SuiteTask(name, {task.task_name: task for task in group.get_all_tasks()}, [group])


def per_domain(manager: "TaskManager", name: str, files: dict[str, Path], cache: Path) -> "Group":
    """A group `name` of one task `name_<domain>` per data file, with the mean metrics over all their items.

    Args:
        manager: knows the task `name`.
        name: of the task that each domain's is made from.
        files: JSONL rows by domain.
        cache: a folder that `datasets` may write to.
    """
    from datasets import disable_progress_bars
    from lm_eval.api.group import AggMetricConfig, Group
    from lm_eval.tasks._yaml_loader import load_yaml

    disable_progress_bars()
    path = manager.task_index[name].yaml_path
    assert path is not None
    template = load_yaml(path)
    metrics = [metric for metric in template["metric_list"] if metric["aggregation"] == "mean"]
    group = Group(
        name=name,
        aggregate_metric_list=[
            AggMetricConfig(metric=metric["metric"], aggregation="mean", weight_by_size=True, filter_list=["none"])
            for metric in metrics
        ],
    )
    for domain, rows in files.items():
        config = {
            **copy.deepcopy(template),
            "task": domain_task(name, domain),
            "dataset_kwargs": {"data_files": {"test": str(rows)}, "cache_dir": str(cache)},
        }
        for task in manager.load([config])["tasks"].values():
            group.add(task)
    return group


def domain_task(name: str, domain: str) -> str:
    """What lm-eval calls the task `name` on one domain."""
    return f"{name}_{domain}"
