"""The training benchmark runs, measures our own trainer, and compares rounds with each other."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch):
    """benchmarks/train.py as a module."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import train

    yield train
    sys.modules.pop("train")
    sys.modules.pop("contenders")


@pytest.mark.slow
def test_a_tiny_benchmark_runs_through_our_trainer_and_a_peer(tmp_path: Path) -> None:
    shape = "--dim 32 --layers 1 --heads 2 --ffn 48 --vocab 64 --seq 16 --batch 2 --threads 1"
    run = "--precision 32-true --mode eager --contenders llamalab transformers --rounds 2 --steps 2 --warmup 1"
    command = [sys.executable, BENCHMARKS / "train.py", *shape.split(), *run.split(), "--json", tmp_path / "out.json"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "times as fast as the fastest peer, transformers" in printed
    case = json.loads((tmp_path / "out.json").read_text())["cases"][0]
    ours, theirs = case["results"]["llamalab"], case["results"]["transformers"]
    # one attention (4 x 32 x 32), one feed-forward (3 x 32 x 48), three norms, embedding and head
    assert ours["parameters"] == theirs["parameters"] == 4 * 32**2 + 3 * 32 * 48 + 3 * 32 + 2 * 64 * 32
    assert len(ours["seconds_per_step"]) == len(theirs["seconds_per_step"]) == 2
    assert all(seconds > 0 for seconds in ours["seconds_per_step"])


def test_ratios_compare_the_same_round_so_a_slow_spell_cancels(train) -> None:
    case = train.Case(8, 1, 1, 8, 8, seq=10, batch=2, precision="32-true", compile=False, threads=1, warmup=1, steps=1)
    facts = {"parameters": 5, "peak_memory_bytes": 7}
    ours = {"seconds_per_step": [1.0, 9.0, 2.0], "flops_per_token": 3, "peak_flops": 60.0, **facts}
    theirs = {"seconds_per_step": [1.5, 13.5, 3.0], **facts}
    rows = train.summary(case, {"llamalab": ours, "peer": theirs})
    assert [row["times_ours"] for row in rows] == [1.0, 1.5]
    assert rows[0]["tokens_per_second"] == 10  # 20 tokens in the median 2 seconds
    assert rows[0]["mfu"] == 0.5
    assert train.verdict(rows) == "llamalab is 1.50 times as fast as the fastest peer, peer"
