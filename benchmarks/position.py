"""What each position encoding costs: forward and backward of `Llama.loss`, in interleaved rounds.

    python benchmarks/position.py                              shape of conf/scale/nano.yaml, bf16 autocast
    python benchmarks/position.py --positions rope t5 --overrides attention/kernel=sdpa

All models are in one process and take turns, in an order that rotates; a ratio is the median over rounds of (the
encoding's time / rope's time) in the same round, so that a machine that gets slower for a while slows all alike.
"""

import argparse
import gc
import json
import os
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from rich.console import Console
from rich.table import Table

from llamalab.common.hydra_app import register_resolvers
from llamalab.common.provenance import cpu_name
from llamalab.model import Llama

CONF = Path(__file__).parents[1] / "conf"
BASELINE = "rope"


def build(position: str, args: argparse.Namespace) -> tuple[Llama, dict[str, Any]]:
    """A seeded model with this encoding at the benchmark's scale, and that scale."""
    overrides = [f"scale={args.scale}", f"position={position}", "run_dir=.", *args.overrides]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", overrides)
    torch.manual_seed(0)
    return instantiate(config.model), config.scale


def stepper(position: str, args: argparse.Namespace) -> Callable[[], float]:
    """A function that runs forward and backward `args.steps` times and returns the seconds a step."""
    model, scale = build(position, args)
    device = torch.device(args.device)
    model.to(device)
    shape = (args.batch or scale["batch_tokens"] // scale["seq_len"], scale["seq_len"])
    tokens, targets = torch.randint(scale["vocab_size"], (2, *shape), device=device)

    def run() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(args.steps):
            with torch.autocast(device.type, torch.bfloat16, enabled=args.precision == "bf16-mixed"):
                loss = model.loss(tokens, targets)
            loss.backward()
            model.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - began) / args.steps

    return run


def measure(args: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds a step of every encoding in every round."""
    names = list(dict.fromkeys([BASELINE, *args.positions]))
    runs = {name: stepper(name, args) for name in names}
    for run in runs.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in names}
    gc.disable()
    for turn in range(args.rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            seconds[name].append(runs[name]())
        gc.collect()
    return seconds


def summary(seconds: dict[str, list[float]]) -> list[dict[str, Any]]:
    """One row per encoding: median milliseconds a step and how many times rope's."""
    return [
        {
            "position": name,
            "milliseconds": 1000 * statistics.median(own),
            "times_rope": statistics.median(a / b for a, b in zip(own, seconds[BASELINE], strict=True)),
        }
        for name, own in seconds.items()
    ]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    choices = sorted(path.stem for path in (CONF / "position").glob("*.yaml"))
    parser.add_argument("--positions", nargs="+", choices=choices, default=choices)
    parser.add_argument("--scale", default="nano")
    parser.add_argument("--batch", type=int, help="sequences a step; default: the scale's batch")
    parser.add_argument("--precision", choices=("bf16-mixed", "32-true"), default="bf16-mixed")
    parser.add_argument("--overrides", nargs="*", default=[], metavar="KEY=VALUE", help="of llamalab train, for all")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=3, help="steps a round")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--json", type=Path, help="where to write every figure")
    return parser.parse_args()


def main() -> None:
    """Measures, prints the table, writes JSON."""
    args = arguments()
    torch.set_num_threads(args.threads)
    register_resolvers()
    seconds = measure(args)
    rows = summary(seconds)
    title = f"{args.scale}, {args.precision}, {args.device}, {args.threads} thread(s)"
    table = Table(title=title, title_justify="left")
    for column in ("position", "ms a step", "times rope"):
        table.add_column(column, justify="left" if column == "position" else "right")
    for row in rows:
        table.add_row(row["position"], f"{row['milliseconds']:.1f}", f"{row['times_rope']:.2f}")
    Console(width=100).print(table)
    if args.json:
        machine = {"cpu": cpu_name(), "cores": os.cpu_count(), "torch": version("torch")}
        settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(args).items()}
        report = {"environment": machine, "settings": settings, "summary": rows, "seconds_per_step": seconds}
        args.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
