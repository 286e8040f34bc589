"""Studies: arms x seeds into run directories, resumed by repeating the command."""

import json
import shutil
import signal
import time
from pathlib import Path

import command_line
import pytest
from corpus_builder import TinyCorpus
from filelock import FileLock

from llamalab.common.errors import UserError
from llamalab.training import study

ARMS, SEEDS = ("rope", "learned", "none"), (0, 1)
RUNS = [Path("position/tiny") / arm / f"seed={seed}" for arm in ARMS for seed in SEEDS]
SHORT = {"scale__tokens": 10 * 256, "scale__warmup_tokens": 2 * 256}


def command(corpus: TinyCorpus, runs_dir: Path, *more: str, **changes: object) -> list[str]:
    """A study of three position encodings with two seeds, ten steps a run."""
    overrides = corpus.overrides(runs_dir=runs_dir, **SHORT, **changes)
    return ["-m", "experiments=three", *overrides, *more]


@pytest.fixture(scope="module")
def whole(tiny_corpus, shared_folder):
    """A study that nobody disturbed."""
    runs_dir = shared_folder / "study"
    with FileLock(f"{runs_dir}.lock"):
        if not runs_dir.exists():
            outcome = command_line.run_here("train", *command(tiny_corpus, runs_dir))
            assert outcome.code == 0, outcome.stderr
            assert [line.rpartition(": finished")[0] for line in outcome.error_lines] == [
                command_line.shown(runs_dir / "position/tiny" / arm / f"seed={seed}") for seed in SEEDS for arm in ARMS
            ]
    return runs_dir


def state(runs_dir: Path) -> dict[str, tuple[float, bytes]]:
    """Every file's time and content."""
    return {str(path): (path.stat().st_mtime, path.read_bytes()) for path in runs_dir.rglob("*") if path.is_file()}


def assert_same_study(runs_dir: Path, reference: Path) -> None:
    for run in RUNS:
        assert command_line.weights_hash(runs_dir / run) == command_line.weights_hash(reference / run)
        assert command_line.timeless(runs_dir / run) == command_line.timeless(reference / run)
        ours, theirs = command_line.result(runs_dir / run), command_line.result(reference / run)
        assert (ours["validation"], ours["study"]) == (theirs["validation"], theirs["study"])


def test_one_directory_for_each_arm_and_seed(whole):
    assert sorted(path.parent.relative_to(whole) for path in whole.rglob("result.json")) == sorted(RUNS)
    record = json.loads((whole / "position/tiny/study.json").read_text())
    assert {key: record[key] for key in ("name", "baseline", "seeds", "scale", "mlflow")} == {
        "name": "position",
        "baseline": "rope",
        "seeds": [0, 1],
        "scale": "tiny",
        "mlflow": None,
    }
    assert record["arms"] == {arm: [f"position={arm}"] for arm in ARMS}
    assert record["question"].endswith("?")
    for run in RUNS:
        result = command_line.result(whole / run)
        arm, seed = run.parts[-2], int(run.parts[-1].removeprefix("seed="))
        assert result["study"] == {"name": "position", "arm": arm, "baseline": "rope", "hash": record["hash"]}
        assert (result["seed"], result["name"], result["scale"], result["data"]) == (seed, "position", "tiny", "tiny")
        assert result["status"] == "finished"
        config = (whole / run / "config.yaml").read_text()
        assert f"position={arm}" in config
        assert (whole / run / "tokenizer.model").exists()
        assert (whole / run / "environment.json").exists()


def test_arms_differ_in_nothing_but_the_arm(whole):
    results = {run: command_line.result(whole / run) for run in RUNS}
    assert len({result["validation"]["loss"] for result in results.values()}) == 6
    assert len({result["data_fingerprint"] for result in results.values()}) == 1
    assert len({result["parameters"]["non_embedding"] for result in results.values()}) == 1
    assert {run.parts[-2]: result["parameters"]["total"] for run, result in results.items()} == {
        "rope": 58016,
        "learned": 58016 + 32 * 32,
        "none": 58016,
    }


def test_repeating_the_command_trains_nothing(tiny_corpus, whole):
    before = state(whole)
    started = time.monotonic()
    outcome = command_line.run_here("train", *command(tiny_corpus, whole))
    assert time.monotonic() - started < 20
    assert outcome.code == 0
    assert outcome.stderr.count("already finished, nothing to do") == 6
    changed = {path for path, content in state(whole).items() if before.get(path) != content}
    assert changed <= {str(whole / "position/tiny/study.json")}
    assert {path: content for path, (_, content) in state(whole).items()} == {p: c for p, (_, c) in before.items()}


def test_a_sweep_killed_in_the_middle_is_completed_by_repeating_it(tiny_corpus, tmp_path, whole):
    process = command_line.Command("train", *command(tiny_corpus, tmp_path))
    third = tmp_path / "position/tiny/none/seed=0"
    process.wait_until(lambda: command_line.last_step(third) >= 4)
    process.signal_group(signal.SIGKILL)
    process.finish()
    assert len(list(tmp_path.rglob("result.json"))) == 2
    finished = {str(path): path.stat().st_mtime_ns for path in tmp_path.rglob("result.json")}
    outcome = command_line.run_here("train", *command(tiny_corpus, tmp_path))
    assert outcome.code == 0, outcome.stderr
    assert outcome.stderr.count("already finished") == 2
    assert all(Path(path).stat().st_mtime_ns == time_ns for path, time_ns in finished.items())
    assert_same_study(tmp_path, whole)


def test_ctrl_c_stops_the_whole_sweep(tiny_corpus, tmp_path, whole, stop_after):
    stop_after(14)  # in the second run
    outcome = command_line.run_here("train", *command(tiny_corpus, tmp_path))
    assert outcome.code == 130
    assert "the state after step 4 is saved" in outcome.error_lines[-1]
    assert len(list(tmp_path.rglob("result.json"))) == 1
    stop_after(0)
    assert command_line.run_here("train", *command(tiny_corpus, tmp_path)).code == 0
    assert_same_study(tmp_path, whole)


@pytest.mark.slow
def test_the_joblib_launcher_runs_two_at_a_time(tiny_corpus, tmp_path, whole):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    outcome = command_line.run_here(
        "train", *command(tiny_corpus, tmp_path, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    )
    assert outcome.code == 0, outcome.stderr
    assert_same_study(tmp_path, whole)


def test_an_arm_that_diverges_is_an_outcome(tiny_corpus, tmp_path):
    arms = ["study.family=[]", "~study.arms.learned", "~study.arms.none", '+study.arms.hot=["scale.lr=1e4"]']
    outcome = command_line.run_here("train", *command(tiny_corpus, tmp_path, *arms))
    assert outcome.code == 0
    status = {
        run.parent.relative_to(tmp_path / "position/tiny"): json.loads(run.read_text())["status"]
        for run in tmp_path.rglob("result.json")
    }
    assert status == {
        Path("rope/seed=0"): "finished",
        Path("rope/seed=1"): "finished",
        Path("hot/seed=0"): "diverged",
        Path("hot/seed=1"): "diverged",
    }


def test_an_arm_that_cannot_run_fails_the_sweep_by_name_after_the_others(tiny_corpus, tmp_path):
    arms = ["study.family=[]", "~study.arms.learned", "~study.arms.none", '+study.arms.odd=["scale.dim=33"]']
    outcome = command_line.run_here("train", *command(tiny_corpus, tmp_path, *arms))
    assert outcome.code == 2
    assert outcome.error_lines[-1] == (
        f"llamalab: {tmp_path}/position/tiny/odd/seed=0: scale.dim: 33 is not divisible by n_heads 2; make it a "
        "multiple (2 of 4 runs failed)"
    )
    assert len(list(tmp_path.rglob("result.json"))) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["study.family=[lerned]"], "study.family: 'lerned' is not an arm; did you mean 'learned'?"),
        (["study.family=[rope]"], "study.family: 'rope' is the baseline"),
        (["study.baseline_seeds=[1]"], "study.baseline_seeds: one seed has no spread to compare with"),
        (
            ["study.learning_rate={factors:[1],seeds:[9],max_points:9}"],
            "study.learning_rate.factors: [1] is no sweep; give at least 5 points",
        ),
        (
            ["study.learning_rate={factors:[1,2,4,8,16],seeds:[0],max_points:9}"],
            "study.learning_rate.seeds: [0] are also seeds of the final runs",
        ),
        (
            ["study.learning_rate={factor:[1,2,4,8,16],seeds:[9],max_points:9}"],
            "study.learning_rate.factor: unknown key; did you mean 'factors'?",
        ),
        (["study.baseline=rop"], "study.baseline: 'rop' is not an arm; did you mean 'rope'?"),
        (["study.seeds=[0]"], "study.seeds: one seed has no spread to compare with"),
        (["study.seeds=[0,0]"], "study.seeds: [0, 0] names a seed twice"),
        (["study.seeds=3"], "study.seeds: 3 is not a list of numbers"),
        (["study.question=null"], "study.question: missing"),
        (["seed=0,1"], "seed=0,1: a study declares what it sweeps"),
        (["scale.lr=0.1,0.2"], "scale.lr=0.1,0.2: a study declares what it sweeps"),
    ],
)
def test_a_study_that_cannot_be_run_says_so_before_any_run(tiny_corpus, tmp_path, arguments, message):
    outcome = command_line.run_here("train", *command(tiny_corpus, tmp_path, *arguments))
    assert outcome.code == 2
    assert len(outcome.error_lines) == 1
    assert message in outcome.stderr
    assert not list(tmp_path.iterdir())


def test_a_changed_declaration_in_the_same_place_is_seen(tiny_corpus, tmp_path, whole):
    """The hash in study.json is that of the arms and seeds; a run keeps the one it was made under."""
    shutil.copytree(whole, tmp_path / "runs")
    before = json.loads((whole / "position/tiny/study.json").read_text())
    arguments = command(tiny_corpus, tmp_path / "runs", "study.seeds=[0,1,2]")
    assert command_line.run_here("train", *arguments).code == 0
    after = json.loads((tmp_path / "runs/position/tiny/study.json").read_text())
    assert after["seeds"] == [0, 1, 2]
    assert after["hash"] != before["hash"]
    assert len(list((tmp_path / "runs").rglob("result.json"))) == 8


def test_seeds_are_the_outer_loop():
    arms = {"a": ["norm=rmsnorm"], "b": ["norm=layernorm", "scale.lr=1"]}
    declared = {"seeds": [3], "baseline_seeds": [3, 5], "baseline": "b", "arms": arms}
    assert study.final_jobs(declared, ["scale=smoke"], None) == [
        ["scale=smoke", "norm=rmsnorm", "study.arm=a", "seed=3", "hydra.sweep.subdir='a/seed=3'"],
        ["scale=smoke", "norm=layernorm", "scale.lr=1", "study.arm=b", "seed=3", "hydra.sweep.subdir='b/seed=3'"],
        ["scale=smoke", "norm=layernorm", "scale.lr=1", "study.arm=b", "seed=5", "hydra.sweep.subdir='b/seed=5'"],
    ]


def test_an_arm_that_is_not_declared_is_refused():
    declared = {"name": "s", "arms": {"rope": [], "none": []}, "arm": "rop"}
    with pytest.raises(UserError, match=r"study\.arm: 'rop' is not an arm; did you mean 'rope'"):
        study.check_arm(declared)
    study.check_arm({**declared, "arm": "rope"})
    study.check_arm(None)
