"""`llamalab eval`: a checkpoint's scores on a suite, as lm-eval's results, samples and a summary."""

import importlib.metadata
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from llamalab.common.configs import check_targets, check_type, resolved
from llamalab.common.console import console
from llamalab.common.errors import UserError
from llamalab.common.files import read_json, sha256_file, write_json, write_text
from llamalab.common.provenance import git_commit, provenance
from llamalab.evaluation import items, tasks
from llamalab.evaluation.summary import rows_of, table_of

SUMMARY, RESULTS, ITEMS, SAMPLES = "summary.json", "results.json", "items", "samples_{}.jsonl"
KINDS = {
    "checkpoint": str,
    "limit": int | None,
    "batch_tokens": int,
    "accelerator": str,
    "dtype": str,
    "artifacts_dir": str,
    "benchmarks_dir": str | None,
    "out": str | None,
}
SUITE_KINDS = {"name": str, "version": int, "tasks": list[str], "heldout": dict[str, dict[str, Any]]}


def run(cfg: DictConfig) -> None:
    """Scores `cfg.checkpoint` on `cfg.suite`; does nothing if the same scores are there already.

    Writes into `cfg.out`: `items/<task>/<domain>.jsonl` (what was asked), `results.json` (lm-eval's own),
    `samples_<task>.jsonl`, and last `summary.json`, whose presence says that the others are whole.

    Raises:
        UserError: a bad value, an unusable checkpoint, an unknown task, or no held-out documents.
    """
    options = _checked(cfg)
    suite = options["suite"]
    tasks.quiet(offline=options["benchmarks_dir"] is not None)

    # torch and lm-eval take seconds to import, so wrong values are refused before
    from lm_eval import evaluator
    from lm_eval.utils import handle_non_serializable

    from llamalab.evaluation import subject
    from llamalab.evaluation.language_model import CheckpointLM

    device, dtype = subject.device_of(options["accelerator"]), subject.dtype_of(options["dtype"])
    found = subject.find(options["checkpoint"])
    manager = tasks.task_manager(suite["tasks"], options["benchmarks_dir"])
    documents = items.validation_files(options["artifacts_dir"], found.config) if suite["heldout"] else {}
    out = Path(options["out"] or found.run_dir / "scores" / suite["name"])
    inputs = {
        "checkpoint": found.fingerprint,
        "suite": suite,
        "tasks": tasks.tasks_hash(),
        "documents": {domain: sha256_file(path) for domain, path in documents.items()},
        "limit": options["limit"],
        "dtype": options["dtype"],
        "lm_eval": importlib.metadata.version("lm_eval"),
    }
    if (out / SUMMARY).is_file() and (summary := read_json(out / SUMMARY)).get("inputs") == inputs:
        _show(summary)
        console.print(f"{out} has the scores of these weights on this suite already; nothing to do")
        return

    _clear(out)
    data, missing = items.build(suite["heldout"], documents, out / ITEMS)
    model = found.load(device, dtype)
    with tempfile.TemporaryDirectory() as cache:
        chosen = [
            tasks.per_domain(manager, name, data[name], Path(cache)) if name in data else name
            for name in suite["tasks"]
        ]
        lm = CheckpointLM(model, found.tokenizer, options["batch_tokens"], device)
        facts = {"checkpoint": str(found.checkpoint), "weights_sha256": found.meta["weights_sha256"]}
        # lm-eval would ask git about the current folder, which need not be a checkout, and let git complain
        evaluator.get_git_commit_hash = git_commit
        results = evaluator.simple_evaluate(
            model=lm,
            model_args={**facts, "dtype": options["dtype"]},
            tasks=chosen,
            task_manager=manager,
            limit=options["limit"],
        )
    assert results is not None
    for name, samples in results["samples"].items():
        lines = [json.dumps(sample, default=handle_non_serializable, ensure_ascii=False) for sample in samples]
        write_text(out / SAMPLES.format(name), "".join(f"{line}\n" for line in lines))
    without_samples = {key: value for key, value in results.items() if key != "samples"}
    write_json(out / RESULTS, json.loads(json.dumps(without_samples, default=handle_non_serializable)))
    summary = {
        "suite": suite["name"],
        **facts,
        "step": found.meta.get("step"),
        "tokens": found.meta.get("tokens"),
        "rows": [row for name in suite["tasks"] for row in rows_of(results, name, [*data.get(name, {})])],
        "truncated_requests": lm.truncated,
        "shortened_generations": lm.shortened,
        "missing": missing,
        "inputs": inputs,
        "made_by": provenance(),
    }
    write_json(out / SUMMARY, summary)
    _show(summary)
    console.print(f"Scores are in {out}")


def _checked(cfg: DictConfig) -> dict[str, Any]:
    options = resolved(cfg)
    for key, kind in KINDS.items():
        check_type(key, options[key], kind)
    if not isinstance(options["suite"], dict):
        raise UserError("suite: none chosen; add suite=<name of a file in eval/suites>")
    for key, annotation in SUITE_KINDS.items():
        if key not in options["suite"]:
            raise UserError(f"suite.{key}: missing; add it to the suite's file in eval/suites")
        check_type(f"suite.{key}", options["suite"][key], annotation)
    check_targets({"suite": options["suite"]})
    for key in ("limit", "batch_tokens"):
        if options[key] is not None and options[key] < 1:
            raise UserError(f"{key}: {options[key]} must be at least 1")
    folder = options["benchmarks_dir"]
    if folder is not None and not Path(folder).is_dir():
        raise UserError(f"benchmarks_dir: {folder}: no such folder; give the folder that holds the benchmarks' files")
    for name in options["suite"]["heldout"]:
        if name not in options["suite"]["tasks"]:
            raise UserError(f"suite.heldout.{name}: is not in suite.tasks; add it there or take it out here")
    return options


def _clear(out: Path) -> None:
    """Removes earlier scores, the summary first, so that at no time it stands beside files that are not its own."""
    (out / SUMMARY).unlink(missing_ok=True)
    (out / RESULTS).unlink(missing_ok=True)
    for path in out.glob(SAMPLES.format("*")):
        path.unlink()
    shutil.rmtree(out / ITEMS, ignore_errors=True)


def _show(summary: dict[str, Any]) -> None:
    console.print(table_of(summary))
    if summary["inputs"]["limit"] is not None:
        console.print(f"Only the first {summary['inputs']['limit']} items of each task were scored (limit)")
    if summary["truncated_requests"]:
        console.print(
            f"{summary['truncated_requests']:,} requests were longer than the model's context and lost their beginning"
        )
    if summary["shortened_generations"]:
        console.print(
            f"{summary['shortened_generations']:,} generations had less room in the model's context than their task "
            "asks for and may have been cut short"
        )
    for gap in summary["missing"]:
        console.print(f"Missing: {gap['task']} on {gap['domain']}: {gap['reason']}")
