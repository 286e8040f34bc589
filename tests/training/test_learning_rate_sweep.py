"""The learning-rate sweep of a study: its grid, its choice, its place, and that kills change nothing."""

import itertools
import json
import math
import random
import signal
from pathlib import Path

import command_line
import pytest
from corpus_builder import TinyCorpus
from filelock import FileLock

from hydra_plugins.llamalab_study import learning_rate
from llamalab.training import study_record

pytestmark = pytest.mark.slow

SHORT = {"scale__tokens": 10 * 256, "scale__warmup_tokens": 2 * 256, "scale__lr": 0.01}


def command(corpus: TinyCorpus, runs_dir: Path, *more: str, **changes: object) -> list[str]:
    return ["-m", "experiments=swept", *corpus.overrides(runs_dir=runs_dir, **SHORT, **changes), *more]


def files(runs_dir: Path) -> dict[str, object]:
    """What a report reads of a study, without times."""
    study = runs_dir / "swept/tiny"
    results = {
        str(path.parent.relative_to(study)): {
            key: json.loads(path.read_text())[key] for key in ("status", "validation", "parameters", "study", "seed")
        }
        for path in study.rglob("result.json")
    }
    logs = study.rglob("metrics.jsonl")
    rows = {str(path.parent.relative_to(study)): command_line.timeless(path.parent) for path in logs}
    return {"rates": json.loads((study / "learning_rates.json").read_text()), "results": results, "rows": rows}


@pytest.fixture(scope="module")
def whole(tiny_corpus, shared_folder):
    """A study with a sweep that nobody disturbed."""
    runs_dir = shared_folder / "swept_study"
    with FileLock(f"{runs_dir}.lock"):
        if not runs_dir.exists():
            outcome = command_line.run_here("train", *command(tiny_corpus, runs_dir))
            assert outcome.code == 0, outcome.stderr
    return runs_dir


def test_every_arm_is_swept_then_run_at_its_own_rate(whole):
    study = whole / "swept/tiny"
    rates = json.loads((study / "learning_rates.json").read_text())
    assert list(rates) == ["rope", "learned"]
    for arm, found in rates.items():
        grid, losses = found["grid"], found["losses"]
        assert 5 <= len(grid) <= 7
        assert [later / earlier for earlier, later in itertools.pairwise(grid)] == pytest.approx([2] * (len(grid) - 1))
        for rate, loss in zip(grid, losses, strict=True):
            result = json.loads((study / arm / f"lr={rate:.4g}/seed=1000/result.json").read_text())
            assert loss == (result["validation"]["loss"] if result["status"] == "finished" else None)
        best = min(range(len(grid)), key=lambda index, losses=losses: losses[index] or math.inf)
        assert found["at_edge"] == (best in (0, len(grid) - 1))
        assert len(grid) == 7 or not found["at_edge"]  # extended while the best is at an edge
        assert grid[max(best - 1, 0)] <= found["chosen"] <= grid[min(best + 1, len(grid) - 1)]
        for seed in (0, 1):
            config = (study / arm / f"seed={seed}/config.yaml").read_text()
            assert f"\n  lr: {found['chosen']}\n" in config
    assert {path.name for path in (study / "rope").glob("seed=*")} == {"seed=0", "seed=1", "seed=2"}
    assert {path.name for path in (study / "learned").glob("seed=*")} == {"seed=0", "seed=1"}


def test_the_grid_grows_at_the_edge_and_shrinks_from_divergence():
    grid = [0.5, 1.0, 2.0]
    assert learning_rate.beyond_edge(grid, [3.0, 2.0, 2.5]) is None
    assert learning_rate.beyond_edge(grid, [1.0, 2.0, 2.5]) == 0.25
    assert learning_rate.beyond_edge(grid, [3.0, 2.0, 1.5]) == 4.0
    assert learning_rate.beyond_edge(grid, [math.inf] * 3) == 0.25
    assert learning_rate.chosen_rate(grid, [math.inf] * 3) == 0.5
    assert learning_rate.chosen_rate([1e-3, 2e-3, 4e-3], [2.1, 2.0, 2.1]) == 2e-3


def test_another_study_takes_over_what_is_the_same_computation(tiny_corpus, tmp_path, whole):
    """The baseline of two studies is trained once; what is copied says so, and keeps its weights."""
    runs_dir = tmp_path / "runs"
    first = command_line.run_here(
        "train", "-m", "experiments=three", *tiny_corpus.overrides(runs_dir=runs_dir, **SHORT)
    )
    again = command_line.run_here("train", "-m", "experiments=two", *tiny_corpus.overrides(runs_dir=runs_dir, **SHORT))
    assert first.code == again.code == 0
    assert again.stderr.count("the same computation as") == 2
    for seed in (0, 1):
        source, copy = runs_dir / f"position/tiny/rope/seed={seed}", runs_dir / f"norm/tiny/rmsnorm/seed={seed}"
        ours, theirs = command_line.result(copy), command_line.result(source)
        assert ours["study"]["name"] == "norm"
        assert ours["study"]["arm"] == "rmsnorm"
        assert ours["taken_over_from"].endswith(f"position/tiny/rope/seed={seed}")
        same = ("validation", "weights_sha256", "config_hash", "seconds", "commit")
        assert {key: ours[key] for key in same} == {key: theirs[key] for key in same}
        assert command_line.weights_hash(copy) == command_line.weights_hash(source)
    fresh = command_line.run_here("train", *tiny_corpus.overrides(runs_dir=runs_dir, name="single", **SHORT))
    assert "the same computation" not in fresh.stderr  # a run outside of a study is trained


def test_two_sweeps_of_one_study_do_not_meet(tiny_corpus, tmp_path):
    with study_record.exclusive(tmp_path / "swept/tiny"):
        outcome = command_line.run_here("train", *command(tiny_corpus, tmp_path))
    assert outcome.code == 2
    assert outcome.error_lines == [
        f"llamalab: {tmp_path}/swept/tiny: another sweep of this study is running here; "
        "wait for it or choose another runs_dir"
    ]


def test_a_sweep_killed_anywhere_ends_the_same(tiny_corpus, tmp_path, whole, kill):
    """kill -9 of everything at a random moment, five times; then the command again."""
    random.seed(kill)
    ends = len(list(whole.rglob("result.json")))
    moments = sorted(random.sample(range(1, ends), 5))
    for moment in moments:
        process = command_line.Command("train", *command(tiny_corpus, tmp_path))
        process.wait_until(lambda wanted=moment: command_line.results_below(tmp_path) >= wanted)
        process.signal_group(signal.SIGKILL)
        process.finish()
    outcome = command_line.run_here("train", *command(tiny_corpus, tmp_path))
    assert outcome.code == 0, outcome.stderr
    assert files(tmp_path) == files(whole)
