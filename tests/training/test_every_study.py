"""Every committed study, cut down to seconds: it trains, is judged, and comes out of the report and of its archive."""

import command_line
import pytest
from corpus_builder import TinyCorpus
from filelock import FileLock
from hydra import compose, initialize_config_dir

from llamalab.analysis import report
from llamalab.analysis.records import DIVERGED, FINISHED, find_studies
from llamalab.common.configs import repository_folder

# the first test waits for all studies, on a busy machine for minutes
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
STUDIES = sorted(path.stem for path in repository_folder("experiments").glob("*.yaml") if path.stem != "claims")
SHORT = {"scale__tokens": 10 * 256, "scale__warmup_tokens": 2 * 256, "scale__lr": 0.01}
# Budgets that follow the size of the arm, as the study's own, one to seventy steps each.
SHARES = {"tokens": 2e-3, "eval_every_tokens": 1e-3, "checkpoint_every_tokens": 1e-3}
TOKENS = [f"scale.{key}='${{budget_tokens:${{tokens_per_parameter}},{share}}}'" for key, share in SHARES.items()]

SHORTER = {
    "tokens": [
        *TOKENS,
        "scale.warmup_tokens=0",
        "study.analyses.scaling.resamples=3",
        "study.analyses.scaling.tries=3",
    ],
    "extrapolation": ["study.probes.extrapolation.tokens=128", "study.probes.extrapolation.last=16"],
}


def command(corpus: TinyCorpus, runs_dir: object, name: str) -> list[str]:
    short = {} if name == "tokens" else SHORT
    few = ["study.seeds=[0,1]", "study.baseline_seeds=[0,1]", "hydra/launcher=basic"]
    # one study sweeps; the sweep is the same code for all
    few += [] if name == "norm" else ["study.learning_rate=null"]
    return ["-m", f"experiments={name}", *corpus.overrides(runs_dir=runs_dir, **short), *few, *SHORTER.get(name, [])]


@pytest.fixture(scope="module")
def runs_dir(tiny_corpus, shared_folder):
    """All studies in one folder, so that equal arms are trained once."""
    folder = shared_folder / "every_study"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            for name in STUDIES:
                outcome = command_line.run_here("train", *command(tiny_corpus, folder, name))
                assert outcome.code == 0, (name, outcome.stderr)
    return folder


def report_on(runs_dir, tmp_path, **overrides):
    with initialize_config_dir(str(repository_folder("conf")), version_base="1.3"):
        config = compose("report", [])
    places = {"runs_dir": str(runs_dir), "artifacts_dir": str(tmp_path), "out": str(tmp_path / "reports")}
    config.update(places | {"log_to_mlflow": False} | overrides)
    report.run(config)


@pytest.mark.parametrize("name", STUDIES)
def test_every_run_of_it_ended(runs_dir, name):
    (study,) = find_studies(runs_dir, [name], None)
    assert {run.status for run in study.runs if run.arm == study.baseline} == {FINISHED}
    assert {run.status for run in study.runs} <= {FINISHED, DIVERGED}  # a model without norms may
    assert len(study.runs) == 2 * len(study.arms)
    assert len(study.sweep) >= (5 * len(study.arms) if name == "norm" else 0)
    adopted = [run for run in study.runs if run.result and run.result.get("taken_over_from")]
    assert all(run.arm != "repeat" for run in adopted)


def test_the_pilots_repeats_are_exact(runs_dir):
    """The same seed on one CPU thread gives the same weights; the repeats were trained, not taken over."""
    (pilot,) = find_studies(runs_dir, ["pilot"], None)
    runs = {(run.arm, run.seed): run.result for run in pilot.runs}
    for seed in (0, 1):
        first, again = runs["llama", seed], runs["repeat", seed]
        assert "taken_over_from" not in again
        assert first["validation"] == again["validation"]
        assert first["weights_sha256"] == again["weights_sha256"]


def test_the_report_of_all_comes_out_of_the_archive_too(runs_dir, tmp_path):
    report_on(runs_dir, tmp_path, archive=str(tmp_path / "results"), findings=str(tmp_path / "live.md"))
    tables = {path.name: path.read_bytes() for path in (tmp_path / "reports/tables").glob("*.csv")}
    report_on(runs_dir, tmp_path, records=str(tmp_path / "results/tiny"), findings=str(tmp_path / "again.md"))
    again = {path.name: path.read_bytes() for path in (tmp_path / "reports/tables").glob("*.csv")}
    own = [name for name in tables if name not in ("runs.csv", "energy.csv")]  # those two list folders
    assert len(own) > 4 * len(STUDIES)
    assert {name: again[name] for name in own} == {name: tables[name] for name in own}
    assert (tmp_path / "again.md").read_text() == (tmp_path / "live.md").read_text()
    for name in STUDIES:
        assert f"## {name} at scale tiny" in (tmp_path / "live.md").read_text()
