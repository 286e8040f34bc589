"""lm-eval tasks of a suite: those in eval/tasks by name, those over held-out documents once per domain."""

import copy
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from llamalab.common.configs import closest, repository_folder
from llamalab.common.errors import UserError
from llamalab.common.files import hash_of, sha256_file

if TYPE_CHECKING:
    from lm_eval.api.group import Group
    from lm_eval.tasks import TaskManager


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


def task_manager(names: list[str], benchmarks_dir: str | None) -> "TaskManager":
    """lm-eval's index of our task files.

    Args:
        names: of tasks that must be in it.
        benchmarks_dir: reaches `llamalab.evaluation.benchmarks.load` as part of every task's metadata.

    Raises:
        UserError: one of `names` is not among them.
    """
    from lm_eval.tasks import TaskManager

    # lm-eval's own 10,000 tasks take seconds to index; ours take none.
    manager = TaskManager(
        include_path=str(tasks_folder()), include_defaults=False, metadata={"benchmarks_dir": benchmarks_dir}
    )
    for name in names:
        if name not in manager.all_subtasks:
            raise UserError(f"suite.tasks: no task '{name}' in {tasks_folder()}{closest(name, manager.all_subtasks)}")
    return manager


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
