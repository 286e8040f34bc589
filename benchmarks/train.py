"""Training speed against peers: the same model, batch and precision, in interleaved rounds.

    python benchmarks/train.py                                     shape S on a CPU: seconds a step, medians, ratios
    python benchmarks/train.py --contenders llamalab --variants attention/kernel=sdpa trainer.keep_freed_memory=false
                                                                   what each of our own choices is worth
    python benchmarks/train.py --dim 2048 --layers 16 --heads 16 --ffn 5504 --vocab 32000 --seq 2048 --batch 8 \\
        --sequential                                               a GPU that holds one contender at a time

Each contender runs in a process of its own, so that none inherits another's settings; in each round they run one
after the other, the others waiting, in an order that rotates. A ratio is the median over rounds of (the peer's time /
our time) in the same round, so that a machine that gets slower for a while slows all alike.
"""

import argparse
import dataclasses
import json
import multiprocessing
import os
import platform
import statistics
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from contenders import CONTENDERS, Case, work
from rich.console import Console
from rich.table import Table

from llamalab.common.provenance import cpu_name

OURS = "llamalab"
PRECISIONS = ("bf16-mixed", "bf16-true", "32-true")


class Worker:
    """A contender's process; `round` runs one round in it."""

    def __init__(self, name: str, case: Case) -> None:
        self.name = name
        self.connection: Connection
        self.connection, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.get_context("spawn").Process(target=work, args=(name, case, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self.facts = self._receive()
        self.peak_memory_bytes = 0

    def _receive(self) -> dict[str, Any]:
        try:
            return self.connection.recv()
        except EOFError:
            raise SystemExit(f"{self.name}: its process ended; see its traceback above") from None

    def round(self) -> float:
        """Seconds that the round's steps took."""
        self.connection.send("go")
        answer = self._receive()
        self.peak_memory_bytes = answer["peak_memory_bytes"]
        return answer["seconds"]

    def close(self) -> None:
        """Ends the process."""
        self.connection.close()
        self.process.join()


def measure(case: Case, names: list[str], rounds: int, sequential: bool, console: Console) -> dict[str, Any]:
    """Runs all contenders on one case; per contender its seconds a step in each round, and facts."""
    results: dict[str, Any] = {}
    for group in [[name] for name in names] if sequential else [names]:
        workers = []
        for name in group:
            console.print(f"  {name}: starting", highlight=False)
            workers.append(Worker(name, case))
        seconds: dict[str, list[float]] = {name: [] for name in group}
        for turn in range(rounds):
            first = turn % len(workers)
            for worker in workers[first:] + workers[:first]:
                seconds[worker.name].append(worker.round() / case.steps)
        for worker in workers:
            worker.close()
            facts = {"seconds_per_step": seconds[worker.name], "peak_memory_bytes": worker.peak_memory_bytes}
            results[worker.name] = {**worker.facts, **facts}
    return results


def summary(case: Case, results: dict[str, Any]) -> list[dict[str, Any]]:
    """One row per contender: median seconds, tokens a second, MFU, and how many times faster we are."""
    ours = results.get(OURS)
    rows = []
    for name, result in results.items():
        seconds = statistics.median(result["seconds_per_step"])
        row = {
            "contender": name,
            "milliseconds": 1000 * seconds,
            "tokens_per_second": case.batch * case.seq / seconds,
            "parameters": result["parameters"],
            "peak_memory_bytes": result["peak_memory_bytes"],
        }
        if ours is not None:
            row["mfu"] = ours["flops_per_token"] * row["tokens_per_second"] / ours["peak_flops"]
            pairs = zip(result["seconds_per_step"], ours["seconds_per_step"], strict=True)
            row["times_ours"] = statistics.median(theirs / mine for theirs, mine in pairs)
        rows.append(row)
    return rows


def table_of(case: Case, rows: list[dict[str, Any]]) -> Table:
    """The rows as printed."""
    title = f"{case.precision}, {'compiled' if case.compile else 'eager'}"
    table = Table(title=title, title_justify="left")
    for column in ("contender", "ms a step", "tokens/s", "MFU", "peak memory", "times our time"):
        table.add_column(column, justify="left" if column == "contender" else "right", no_wrap=True)
    for row in rows:
        table.add_row(
            row["contender"],
            f"{row['milliseconds']:.1f}",
            f"{row['tokens_per_second']:,.0f}",
            f"{row['mfu']:.1%}" if "mfu" in row else "",
            f"{row['peak_memory_bytes'] / 2**20:,.0f} MiB",
            f"{row['times_ours']:.2f}" if "times_ours" in row else "",
        )
    return table


def verdict(rows: list[dict[str, Any]]) -> str:
    """How we stand against the fastest peer; empty where there is no pair to compare."""
    peers = [row for row in rows if not row["contender"].startswith(OURS) and "times_ours" in row]
    if not peers:
        return ""
    best = min(peers, key=lambda row: row["times_ours"])
    return f"{OURS} is {best['times_ours']:.2f} times as fast as the fastest peer, {best['contender']}"


def environment(contenders: list[str]) -> dict[str, Any]:
    """Hardware, and the versions of what takes part, for the record."""
    import torch

    peers = [name for name in contenders if name != "llamalab"]
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "gpu": gpu,
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{package: version(package) for package in ("torch", "lightning", *peers)},
    }


def arguments() -> argparse.Namespace:
    """The command line; the defaults are shape S."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in {"dim": 256, "layers": 6, "heads": 8, "ffn": 688, "vocab": 4096, "seq": 256}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--batch", type=int, default=16, help="sequences a step")
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=["bf16-mixed", "bf16-true"])
    parser.add_argument("--mode", nargs="+", choices=("eager", "compiled"), default=["eager", "compiled"])
    parser.add_argument("--contenders", nargs="+", choices=tuple(CONTENDERS), default=list(CONTENDERS))
    parser.add_argument(
        "--variants", nargs="+", default=[], metavar="KEY=VALUE", help="also run ours with each of these overrides"
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=5, help="optimizer steps a round")
    parser.add_argument("--warmup", type=int, default=5, help="steps before the first round")
    parser.add_argument("--threads", type=int, help="torch threads; default: one per core")
    parser.add_argument("--sequential", action="store_true", help="one contender at a time, for large models")
    parser.add_argument("--json", type=Path, help="where to write every figure")
    return parser.parse_args()


def main() -> None:
    """Measures every precision and mode, prints tables, writes JSON."""
    args = arguments()
    # As `llamalab` sets it for itself: a waiting thread sleeps, so that other work on the machine disturbs less. For
    # all contenders alike.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    console, progress = Console(width=110), Console(stderr=True)
    report: dict[str, Any] = {"environment": environment(args.contenders), "cases": []}
    shape = {key: vars(args)[key] for key in ("dim", "layers", "heads", "ffn", "vocab", "seq", "batch")}
    console.print(", ".join(f"{key} {value}" for key, value in shape.items()), highlight=False)
    for precision in args.precision:
        for mode in args.mode:
            progress.print(f"{precision}, {mode}", highlight=False)
            case = Case(
                **shape,
                precision=precision,
                compile=mode == "compiled",
                threads=args.threads,
                warmup=args.warmup,
                steps=args.steps,
            )
            names = args.contenders + [f"{OURS} {override}" for override in args.variants]
            results = measure(case, names, args.rounds, args.sequential, progress)
            rows = summary(case, results)
            console.print(table_of(case, rows))
            console.print(verdict(rows), highlight=False)
            report["cases"].append({"case": dataclasses.asdict(case), "summary": rows, "results": results})
            if args.json:
                args.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
