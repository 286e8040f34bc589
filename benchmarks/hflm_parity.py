"""The same checkpoint in our lm-eval model and in lm-eval's HFLM, document by document, on stock tasks.

    python benchmarks/hflm_parity.py --checkpoint runs/default/nano/seed=0 --benchmarks-dir ../shared/data/benchmarks

The checkpoint is converted to Hugging Face's format first, and HFLM loads that folder as users do, tokenizer and all.
Exits with 1 unless every log-likelihood agrees to 1e-3 nats and every document's choice is the same, by acc and by
acc_norm.
"""

import argparse
import json
import os
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

import numpy as np
import torch
from lm_eval import evaluator
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from rich.console import Console
from rich.table import Table

from llamalab.checkpoint.convert import convert
from llamalab.common.provenance import cpu_name
from llamalab.evaluation import subject, tasks
from llamalab.evaluation.language_model import CheckpointLM
from llamalab.evaluation.packed_weights import pack

# lm-eval's file, the splits that we have no files of, and how many documents (None: all)
STOCK = {
    "arc_easy": ("arc/arc_easy.yaml", ("training_split", "validation_split"), None),
    "hellaswag": ("hellaswag/hellaswag.yaml", ("training_split",), 500),
    "piqa": ("piqa/piqa.yaml", ("training_split",), 500),
    "winogrande": ("winogrande/default.yaml", ("training_split",), 500),
    "openbookqa": ("openbookqa/openbookqa.yaml", ("training_split", "validation_split"), 500),
}
CLOSE = 1e-3  # nats


def stock_tasks(folder: Path, benchmarks_dir: Path) -> TaskManager:
    """An index of lm-eval's own tasks, prompts and metrics as they are, on local data."""
    tasks.task_manager([], {})  # from here on !stock is known
    for name, (file, absent, _) in STOCK.items():
        lines = [
            f"include: !stock {file}",
            f"task: {name}",
            "custom_dataset: !function llamalab.evaluation.benchmarks.load",
            f"dataset_kwargs: {{dataset: {name}}}",
            *(f"{split}: null" for split in absent),
        ]
        (folder / f"{name}.yaml").write_text("\n".join(lines) + "\n")
    return TaskManager(
        include_path=str(folder), include_defaults=False, metadata={"benchmarks_dir": str(benchmarks_dir)}
    )


def documents(lm: Any, name: str, manager: TaskManager) -> list[dict[str, Any]]:
    """lm-eval's samples of a task, in the order of its documents."""
    results = evaluator.simple_evaluate(
        model=lm, tasks=[name], limit=STOCK[name][2], task_manager=manager, bootstrap_iters=0
    )
    return sorted(results["samples"][name], key=lambda sample: sample["doc_id"])


def compare(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> dict[str, Any]:
    """How far apart log-likelihoods are, and how many documents get the same choice and the same metrics."""
    apart, same, metrics = 0.0, 0, 0
    for one, other in zip(ours, theirs, strict=True):
        assert one["doc_hash"] == other["doc_hash"]
        pairs = [[float(answer[0]) for answer in sample["filtered_resps"]] for sample in (one, other)]
        apart = max(apart, *(abs(a - b) for a, b in zip(*pairs, strict=True)))
        same += bool(np.argmax(pairs[0]) == np.argmax(pairs[1]))
        metrics += all(one[name] == other[name] for name in one["metrics"])
    accuracies = {
        name: [sum(sample[name] for sample in samples) / len(samples) for samples in (ours, theirs)]
        for name in ours[0]["metrics"]
    }
    return {
        "documents": len(ours),
        "same_choice": same,
        "same_metrics": metrics,
        "nats_apart": apart,
        "ours_and_theirs": accuracies,
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, help="of any format that llamalab eval reads")
    parser.add_argument("--benchmarks-dir", type=Path, required=True, help="folder with the benchmarks' files")
    parser.add_argument("--tasks", nargs="+", choices=tuple(STOCK), default=list(STOCK))
    parser.add_argument("--batch-size", type=int, default=8, help="HFLM's")
    parser.add_argument("--batch-tokens", type=int, default=4096, help="ours, as in conf/eval.yaml")
    parser.add_argument(
        "--max-length",
        type=int,
        help="context of both in tokens; default: the checkpoint's. HFLM fails where a continuation alone is longer",
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="where to write every figure")
    args = parser.parse_args()
    device = torch.device(args.device)
    found = subject.find(args.checkpoint)
    model = found.load(device, torch.float32)
    model.max_seq_len = args.max_length or model.max_seq_len
    pack(model, device, torch.float32)
    ours = CheckpointLM(model, found.tokenizer, args.batch_tokens, device)
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        converted, configs = Path(folder) / "hf", Path(folder) / "tasks"
        configs.mkdir()
        convert(Path(args.checkpoint), "hf", converted)
        theirs = HFLM(
            pretrained=str(converted),
            backend="causal",
            device=args.device,
            dtype="float32",
            batch_size=args.batch_size,
            max_length=model.max_seq_len,
        )
        manager = stock_tasks(configs, args.benchmarks_dir)
        for name in args.tasks:
            results[name] = compare(*(documents(lm, name, manager) for lm in (ours, theirs)))
    table = Table(title="the same weights in llamalab and HFLM, fp32", title_justify="left")
    for column in ("task", "documents", "same choice", "same metrics", "largest difference, nats"):
        table.add_column(column, justify="left" if column == "task" else "right")
    for name, result in results.items():
        counts = (str(result[key]) for key in ("documents", "same_choice", "same_metrics"))
        table.add_row(name, *counts, f"{result['nats_apart']:.1e}")
    Console().print(table)
    if args.json:
        environment = {"cpu": cpu_name(), "torch": torch.__version__, "lm_eval": version("lm_eval")}
        record = {"environment": environment, "weights_sha256": found.meta["weights_sha256"], "results": results}
        args.json.write_text(json.dumps(record, indent=2) + "\n")
    agree = all(
        result["same_choice"] == result["same_metrics"] == result["documents"] and result["nats_apart"] <= CLOSE
        for result in results.values()
    )
    sys.exit(0 if agree else 1)


if __name__ == "__main__":
    main()
