"""Evaluation speed against lm-eval's HFLM: the same weights, tokenizer and requests, in interleaved rounds.

    python benchmarks/evaluation.py --benchmarks-dir ../shared/data/benchmarks
                                                    HellaSwag and ARC 0-shot, MMLU 5-shot, GSM8k 8-shot; fp32 and bf16
    python benchmarks/evaluation.py --benchmarks-dir ... --workloads mmlu --precision bf16 --dim 2048 --layers 16 \\
        --heads 16 --ffn 5504 --vocab 32000 --device cuda --batch-tokens 32768 --documents mmlu=600
                                                    a model of 1B parameters on a GPU

What is timed is a whole call of the lm-eval model, tokenisation included. HFLM runs at its best batch size, which is
searched for first on a part of the requests. Both are in one process and take turns, in an order that alternates; a
ratio is the median over rounds of (HFLM's time / our time), so that a machine that gets slower for a while slows both.
The ratio of processor time is given too, which other work on the machine disturbs less.
Answers are compared too.
"""

import argparse
import gc
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")
# As `llamalab` sets it for itself: a waiting thread sleeps, so that other work on the machine disturbs less.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from evaluation_contenders import DTYPES, random_model, train_tokenizer, twin_of
from evaluation_requests import WORKLOADS, texts
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from rich.console import Console
from rich.table import Table
from transformers import LlamaTokenizer

from llamalab.checkpoint.tokenizer import Tokenizer
from llamalab.common.console import progress_console
from llamalab.common.provenance import cpu_name
from llamalab.evaluation.language_model import CheckpointLM
from llamalab.evaluation.packed_weights import pack

DOCUMENTS = {"hellaswag": 40, "arc": 120, "mmlu": 60, "gsm8k": 16}
TOKENIZER_DOCUMENTS = 400  # of each workload, whose text a tokenizer is trained on
# How many times as fast as HFLM we want to be.
GOALS = {"hellaswag": 2.5, "arc": 2.5, "mmlu": 4.0, "gsm8k": 2.0}
OURS, PEER = "llamalab", "HFLM"


def ask(lm: Any, requests: list[Instance]) -> list[Any]:
    """The model's answers."""
    if requests[0].request_type == "generate_until":
        return list(lm.generate_until(requests, disable_tqdm=True))
    return list(lm.loglikelihood(requests, disable_tqdm=True))


@dataclass(frozen=True)
class Turn:
    """One call: its answers, the seconds it took, and the processor seconds of all threads."""

    answers: list[Any]
    seconds: float
    cpu_seconds: float

    def cost(self, device: torch.device) -> float:
        """What tells a fast batch size from a slow one even if other work on the machine takes turns with it."""
        return self.cpu_seconds if device.type == "cpu" else self.seconds


def timed(lm: Any, requests: list[Instance], device: torch.device) -> Turn:
    """Asks and times."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize()
    began, cpu_began = time.perf_counter(), time.process_time()
    answers = ask(lm, requests)
    return Turn(answers, time.perf_counter() - began, time.process_time() - cpu_began)


def best_batch_size(peer: HFLM, requests: list[Instance], sizes: list[int], device: torch.device) -> dict[int, float]:
    """Seconds of each batch size on the requests; larger ones are not tried once they get clearly slower."""
    seconds: dict[int, float] = {}
    for size in sizes:
        peer.batch_size_per_gpu = size
        seconds[size] = timed(peer, requests, device).cost(device)
        if seconds[size] > 1.3 * min(seconds.values()):
            break
    return seconds


def part_of(requests: list[Instance], share: float) -> list[Instance]:
    """Whole documents from all over the requests, about this share of them."""
    contexts = list(dict.fromkeys(request.args[0] for request in requests))
    chosen = set(contexts[:: max(1, round(1 / share))])
    return [request for request in requests if request.args[0] in chosen]


def agreement(requests: list[Instance], ours: list[Any], theirs: list[Any]) -> dict[str, Any]:
    """How the answers compare: the same choice (or text) in how many documents, the largest difference in nats."""
    if requests[0].request_type == "generate_until":
        # HFLM decodes new tokens alone, which loses the space before the first word
        same = sum(one.lstrip(" ") == other.lstrip(" ") for one, other in zip(ours, theirs, strict=True))
        return {"documents": len(requests), "same": same, "largest_difference": None}
    scores: dict[str, list[tuple[float, float]]] = {}
    for request, one, other in zip(requests, ours, theirs, strict=True):
        scores.setdefault(request.args[0], []).append((one[0], other[0]))
    same = sum(len(set(np.argmax(pairs, axis=0))) == 1 for pairs in scores.values())
    largest = max(abs(a - b) for pairs in scores.values() for a, b in pairs)
    return {"documents": len(scores), "same": same, "largest_difference": largest}


def compare(ours: CheckpointLM, peer: HFLM, requests: list[Instance], args: argparse.Namespace) -> dict[str, Any]:
    """Searches HFLM's batch size, then times both in turns."""
    device = torch.device(args.device)
    search = best_batch_size(peer, part_of(requests, args.search_share), args.batch_sizes, device)
    peer.batch_size_per_gpu = min(search, key=search.__getitem__)
    ask(ours, part_of(requests, args.search_share))  # warm, as the peer is by now
    turns: dict[str, list[Turn]] = {OURS: [], PEER: []}
    for turn in range(args.rounds):
        for name, lm in [(OURS, ours), (PEER, peer)][:: 1 if turn % 2 else -1]:
            turns[name].append(timed(lm, requests, device))
    pairs = list(zip(turns[OURS], turns[PEER], strict=True))
    return {
        "requests": len(requests),
        "batch_size": peer.batch_size_per_gpu,
        "batch_size_search": search,
        "seconds": {name: [turn.seconds for turn in own] for name, own in turns.items()},
        "cpu_seconds": {name: [turn.cpu_seconds for turn in own] for name, own in turns.items()},
        "ratio": statistics.median(theirs.seconds / mine.seconds for mine, theirs in pairs),
        "cpu_ratio": statistics.median(theirs.cpu_seconds / mine.cpu_seconds for mine, theirs in pairs),
        **agreement(requests, turns[OURS][-1].answers, turns[PEER][-1].answers),
    }


def measure(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The result of each precision and workload."""
    progress_console.quiet = True  # our own bars
    console = Console(stderr=True)
    requests = {name: WORKLOADS[name](args.benchmarks_dir, args.documents[name]) for name in args.workloads}
    if args.tokenizer:
        model_bytes = args.tokenizer.read_bytes()
    else:
        every = [text for make in WORKLOADS.values() for text in texts(make(args.benchmarks_dir, TOKENIZER_DOCUMENTS))]
        model_bytes = train_tokenizer(every, args.vocab)
    tokenizer = Tokenizer(model_bytes, "tokenizer.model")
    shape = {"dim": args.dim, "n_layers": args.layers, "n_heads": args.heads, "seq_len": args.seq}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "tokenizer.model").write_bytes(model_bytes)
        their_tokenizer = LlamaTokenizer.from_pretrained(folder, add_bos_token=True)
    for precision in args.precision:
        model = random_model({**shape, "vocab_size": tokenizer.vocab_size})
        twin = twin_of(model, args.heads).to(args.device, DTYPES[precision])
        model.to(args.device, DTYPES[precision])
        pack(model, torch.device(args.device), DTYPES[precision])
        ours = CheckpointLM(model, tokenizer, args.batch_tokens, torch.device(args.device))
        peer = HFLM(pretrained=twin, tokenizer=their_tokenizer, backend="causal", device=args.device)
        for name in args.workloads:
            console.print(f"{precision} {name}: {len(requests[name])} requests", highlight=False)
            result = compare(ours, peer, requests[name], args)
            console.print(f"  {result['ratio']:.2f} times as fast ({result['cpu_ratio']:.2f} by processor time)")
            yield {"precision": precision, "workload": name, "goal": GOALS[name], **result}


def table_of(results: list[dict[str, Any]]) -> Table:
    """The results as printed."""
    table = Table(title="median seconds; ratio: HFLM's time by ours", title_justify="left")
    for column in (
        "",
        "workload",
        "documents",
        "requests",
        "HFLM batch",
        "HFLM s",
        "ours s",
        "ratio",
        "CPU ratio",
        "goal",
    ):
        table.add_column(column, justify="left" if column in ("", "workload") else "right", no_wrap=True)
    table.add_column("same answer", justify="right")
    table.add_column("nats apart", justify="right")
    for row in results:
        table.add_row(
            row["precision"],
            row["workload"],
            str(row["documents"]),
            str(row["requests"]),
            str(row["batch_size"]),
            f"{statistics.median(row['seconds'][PEER]):.2f}",
            f"{statistics.median(row['seconds'][OURS]):.2f}",
            f"{row['ratio']:.2f}",
            f"{row['cpu_ratio']:.2f}",
            f"{row['goal']:.1f}",
            f"{row['same']}/{row['documents']}",
            "" if row["largest_difference"] is None else f"{row['largest_difference']:.1e}",
        )
    return table


def _documents(value: str) -> tuple[str, int]:
    name, _, count = value.partition("=")
    if name not in WORKLOADS or not count.isdigit():
        raise argparse.ArgumentTypeError(f"{value}: write <workload>=<number>, workloads are {', '.join(WORKLOADS)}")
    return name, int(count)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--benchmarks-dir", type=Path, required=True, help="folder with the benchmarks' files")
    parser.add_argument("--workloads", nargs="+", choices=tuple(WORKLOADS), default=list(WORKLOADS))
    parser.add_argument("--precision", nargs="+", choices=tuple(DTYPES), default=list(DTYPES))
    parser.add_argument(
        "--documents", nargs="+", type=_documents, default=[], metavar="WORKLOAD=N", help=f"default: {DOCUMENTS}"
    )
    for name, value in {"dim": 512, "layers": 8, "heads": 8, "vocab": 8192, "seq": 2048}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--tokenizer", type=Path, help="a tokenizer.model; default: trained on the benchmarks' text")
    parser.add_argument("--batch-tokens", type=int, default=4096, help="ours, as in conf/eval.yaml")
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[1, 4, 16, 32, 64], help="of HFLM, to search")
    parser.add_argument("--search-share", type=float, default=0.25, help="of the requests, for that search")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, help="torch threads; default: one per core")
    parser.add_argument("--json", type=Path, help="where to write every figure")
    args = parser.parse_args()
    args.documents = {**DOCUMENTS, **dict(args.documents)}
    return args


def write_report(args: argparse.Namespace, results: list[dict[str, Any]]) -> None:
    """Every figure so far, as JSON."""
    packages = ("torch", "transformers", "lm_eval")
    gpu = torch.cuda.get_device_name() if args.device.startswith("cuda") else None
    environment = {"cpu": cpu_name(), "cores": os.cpu_count(), "gpu": gpu, "threads": torch.get_num_threads()}
    environment |= {package: version(package) for package in packages}
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(args).items()}
    report = {"environment": environment, "settings": settings, "results": results}
    args.json.write_text(json.dumps(report, indent=2) + "\n")


def main() -> None:
    """Measures, prints the table, writes JSON."""
    args = arguments()
    if args.threads:
        torch.set_num_threads(args.threads)
    results = []
    for result in measure(args):
        results.append(result)
        if args.json:
            write_report(args, results)
    Console(width=130).print(table_of(results))


if __name__ == "__main__":
    main()
