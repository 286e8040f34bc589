"""`llamalab eval`: a checkpoint's scores on a suite, as lm-eval's results, samples and a summary."""

import importlib.metadata
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from llamalab.common import comparison_files
from llamalab.common.configs import check_targets, check_type, resolved
from llamalab.common.console import console, progress_console
from llamalab.common.errors import UserError
from llamalab.common.files import hash_of, read_json, sha256_file, write_json
from llamalab.common.provenance import git_commit, provenance
from llamalab.evaluation import comparison, items, reference, tasks
from llamalab.evaluation.parts import FOLDER, SAMPLES, Parts
from llamalab.evaluation.request_cache import RequestCache
from llamalab.evaluation.suites import composed
from llamalab.evaluation.summary import group_rows, remarks, rows_of, table_of

if TYPE_CHECKING:
    from lm_eval.api.task import Task
    from lm_eval.tasks import TaskManager

    from llamalab.evaluation.language_model import CheckpointLM
    from llamalab.evaluation.ranks import Ranks

# options that reach the tasks as part of their metadata
FOR_TASKS = ("benchmarks_dir", "dataset_files", "samples", "scorer", "allow_code_execution")
SUMMARY, RESULTS, ITEMS, ANSWERS = "summary.json", "results.json", "items", "answers"
KINDS = {
    "checkpoint": str,
    "limit": int | None,
    "batch_tokens": int,
    "accelerator": str,
    "dtype": str,
    "artifacts_dir": str,
    "benchmarks_dir": str | None,
    "dataset_files": dict[str, dict[str, str]],
    "samples": int | None,
    "allow_code_execution": bool,
    "scorer": dict[str, Any],
    "out": str | None,
    "compare_with": str | None,
    "other_models": bool,
}


def run(cfg: DictConfig) -> None:
    """Scores `cfg.checkpoint` on `cfg.suite`; does nothing if the same scores are there already.

    Writes into `cfg.out`: `items/<task>/<domain>.jsonl` (what was asked), `answers/` as they come,
    `samples_<task>.jsonl` and `finished/<task>.json` as each task ends, `results.json` (lm-eval's own), and last
    `summary.json`, whose presence says that the others are whole. After an interruption what is answered is not asked
    again. Started by torchrun, the processes share out the documents and the first one writes.

    Raises:
        UserError: a bad value, an unusable checkpoint, an unknown task, damaged data, or nothing that can be scored.
    """
    options = _checked(cfg)
    tasks.quiet(offline=options["benchmarks_dir"] is not None)

    # torch and lm-eval take seconds to import, so wrong values are refused before
    from llamalab.evaluation.ranks import ranks_of_launch

    with ranks_of_launch() as ranks:
        _run(options, ranks)


def _run(options: dict[str, Any], ranks: "Ranks") -> None:
    from llamalab.evaluation import subject
    from llamalab.evaluation.language_model import CheckpointLM
    from llamalab.evaluation.packed_weights import pack

    suite = options["suite"]
    device, dtype = ranks.device(subject.device_of(options["accelerator"])), subject.dtype_of(options["dtype"])
    found = subject.find(options["checkpoint"])
    own = [name for name in suite["tasks"] if name not in suite["heldout"]]
    manager = tasks.task_manager(suite["tasks"], {key: options[key] for key in FOR_TASKS})
    benchmarks, missing = tasks.load(manager, own)
    documents = items.validation_files(options["artifacts_dir"], found.config) if suite["heldout"] else {}
    if not benchmarks and not documents:
        raise UserError(f"suite: nothing can be scored; {missing[0]['task']}: {missing[0]['reason']}")
    out = Path(options["out"] or found.run_dir / "scores" / suite["name"])
    limit = min((value for value in (options["limit"], suite["limit"]) if value is not None), default=None)
    inputs = {
        "checkpoint": found.fingerprint,
        "suite": suite,
        "tasks": tasks.tasks_hash(),
        "data": {name: what for task in benchmarks for name, what in tasks.data_fingerprints(task.tasks).items()},
        "missing": [gap["task"] for gap in missing],
        "documents": {domain: sha256_file(path) for domain, path in documents.items()},
        "limit": limit,
        "samples": options["samples"],
        "scorer": options["scorer"],
        "dtype": options["dtype"],
        "lm_eval": importlib.metadata.version("lm_eval"),
    }
    earlier = read_json(out / SUMMARY) if (out / SUMMARY).is_file() else {}
    ranks.wait()  # until all have read it
    if earlier.get("inputs") == inputs:
        if ranks.first:
            _show(earlier, out, options)
            console.print(f"{out} has the scores of these weights on this suite already; nothing to do", soft_wrap=True)
        return

    if ranks.first:
        _clear(out)
    ranks.wait()
    data, gaps = items.build(suite["heldout"], documents, out / ITEMS)
    facts = {"checkpoint": str(found.checkpoint), "weights_sha256": found.meta["weights_sha256"]}
    common = {key: value for key, value in inputs.items() if key not in ("suite", "data", "missing")}
    parts = Parts(out, {**common, "heldout": suite["heldout"]}, inputs["data"])
    with tempfile.TemporaryDirectory() as folder:
        made = [tasks.heldout(manager, name, data[name], Path(folder)) for name in suite["heldout"]]
        chosen = sorted([*benchmarks, *made], key=lambda task: suite["tasks"].index(task.name))
        single = {name: task for suite_task in chosen for name, task in suite_task.tasks.items()}
        finished = {name: parts.get(name) for name in single}
        ranks.wait()  # until all have seen what is finished
        versions = dict.fromkeys(single, inputs["tasks"])
        cache = RequestCache(out / ANSWERS, hash_of([found.fingerprint, options["dtype"]]), versions, ranks.rank)
        model = found.load(device, dtype)
        pack(model, device, dtype)
        lm = CheckpointLM(model, found.tokenizer, options["batch_tokens"], device, cache, ranks)
        left = [name for name, part in finished.items() if part is None]
        for number, name in enumerate(left, 1):
            if ranks.first:
                progress_console.print(f"{name} ({number} of {len(left)})")
            scored = _score(single[name], lm, manager, {**facts, "dtype": options["dtype"]}, limit)
            if ranks.first:
                finished[name] = parts.put(name, *scored)
    if not ranks.first:
        return
    whole = {name: part for name, part in finished.items() if part is not None}
    results = merged(chosen, [part["results"] for part in whole.values()])
    write_json(out / RESULTS, {key: value for key, value in results.items() if key != "samples"})
    summary = {
        "suite": suite["name"],
        **facts,
        "step": found.meta.get("step"),
        "tokens": found.meta.get("tokens"),
        "parameters": lm.model.parameter_counts()["total"],
        "rows": [row for task in chosen for row in suite_rows(results, task, [*data.get(task.name, {})])],
        "truncated_requests": sum(part["counts"]["truncated requests"] for part in whole.values()),
        "counts": {name: part["counts"] for name, part in whole.items() if any(part["counts"].values())},
        "notes": {name: part["notes"] for name, part in whole.items() if part["notes"]},
        "missing": [*({"domain": None, **gap} for gap in missing), *gaps],
        "inputs": inputs,
        "made_by": provenance(),
    }
    write_json(out / SUMMARY, summary)
    cache.remove()
    if not missing:
        parts.clear()
    _show(summary, out, options)
    console.print(f"Scores are in {out}")


def _score(
    task: "Task", lm: "CheckpointLM", manager: "TaskManager", facts: dict[str, Any], limit: int | None
) -> tuple[dict[str, Any], dict[str, int], list[str]]:
    """One task's results (of the first rank; empty on the others), counts over all ranks, and notes."""
    truncated, shortened = lm.truncated, lm.shortened
    results = run_task(task, lm, facts, limit, manager)
    counts = {
        "truncated requests": lm.truncated - truncated,
        "generations with less room than the task asks for": lm.shortened - shortened,
        **(task.counts() if hasattr(task, "counts") else {}),
    }
    return results, {what: lm.ranks.total(count) for what, count in counts.items()}, tasks.notes_of(task)


def run_task(
    task: "Task", lm: "CheckpointLM", facts: dict[str, Any], limit: int | None, manager: "TaskManager"
) -> dict[str, Any]:
    """lm-eval's results of one task, with samples; `facts` are put down as the model's arguments.

    Of several ranks the first one gets them; the others' are empty.
    """
    from lm_eval import evaluator

    # lm-eval would ask git about the current folder, which need not be a checkout, and programs about the machine; the
    # summary says both
    evaluator.get_git_commit_hash = git_commit
    evaluator.add_env_info = lambda storage: None
    if hasattr(task, "use_model"):
        task.use_model(lm)
    # without a manager lm-eval would read thousands of its own task files
    results = evaluator.simple_evaluate(model=lm, model_args=facts, tasks=[task], limit=limit, task_manager=manager)
    return dict(results or {})


def merged(chosen: list[tasks.SuiteTask], results: list[dict[str, Any]]) -> dict[str, Any]:
    """lm-eval's results of single tasks as if they had been run together, with those of the groups."""
    merged: dict[str, Any] = {}
    for part in results:
        for key, value in part.items():
            merged[key] = {**merged.get(key, {}), **value} if isinstance(value, dict) and key != "config" else value
    groups = [group for task in chosen for group in task.groups]
    merged["groups"] = {group.name: group.aggregate(merged["results"]) for group in groups}
    merged["group_subtasks"] = {group.name: group.child_names for group in groups}
    return merged


def suite_rows(results: dict[str, Any], task: tasks.SuiteTask, domains: list[str]) -> list[dict[str, Any]]:
    """The summary's rows of a suite's task or group; `domains` are those of held-out documents."""
    if domains or not task.groups:
        return rows_of(results, task.name, domains)
    shots = {inner.config.num_fewshot for inner in task.tasks.values()}
    of_all = shots.pop() if len(shots) == 1 else None
    rows = []
    for group in task.groups:
        if group.has_aggregation:
            rows += group_rows(results, group.name, group.metadata or {}, of_all)
    return rows + [row for name in task.tasks for row in rows_of(results, name, [])]


def _checked(cfg: DictConfig) -> dict[str, Any]:
    options = resolved(cfg)
    for key, kind in KINDS.items():
        check_type(key, options[key], kind)
    if not isinstance(options["suite"], dict):
        raise UserError("suite: none chosen; add suite=<name of a file in eval/suites>")
    options["suite"] = composed(options["suite"])
    check_targets({"suite": options["suite"], "scorer": options["scorer"]})
    if options["compare_with"] is not None:
        reference.model_named(options["compare_with"])
    for key in ("limit", "batch_tokens", "samples"):
        if options[key] is not None and options[key] < 1:
            raise UserError(f"{key}: {options[key]} must be at least 1")
    folder = options["benchmarks_dir"]
    if folder is not None and not Path(folder).is_dir():
        raise UserError(f"benchmarks_dir: {folder}: no such folder; give the folder that holds the benchmarks' files")
    return options


def _clear(out: Path) -> None:
    """Removes earlier scores, the summary first, so that at no time it stands beside files that are not its own.

    Finished tasks stay: each says what it was made from.
    """
    (out / SUMMARY).unlink(missing_ok=True)
    comparison_files.remove(out)
    (out / RESULTS).unlink(missing_ok=True)
    finished = {path.stem for path in (out / FOLDER).glob("*.json")}
    for path in out.glob(SAMPLES.format("*")):
        if path.stem.removeprefix(SAMPLES.format("").removesuffix(".jsonl")) not in finished:
            path.unlink()
    shutil.rmtree(out / ITEMS, ignore_errors=True)


def _show(summary: dict[str, Any], out: Path, options: dict[str, Any]) -> None:
    console.print(table_of(summary))
    if (compared := comparison.write(summary, out, options["compare_with"], options["other_models"])) is not None:
        console.print(compared)
    for line in remarks(summary):
        console.print(line)
