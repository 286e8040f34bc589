"""Reading run directories: every state a run can be in, and every way its files can be wrong."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llamalab.analysis.records import find_single_runs, find_studies, read_metrics, read_study
from llamalab.common.errors import UserError


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def test_every_declared_run_is_there_with_its_status(study_folder):
    (study_folder / "none/seed=0/result.json").unlink()
    shutil.rmtree(study_folder / "none/seed=1")
    edit(study_folder / "none/seed=2/result.json", lambda r: r.update(status="diverged", validation=None))
    study = read_study(study_folder / "study.json")
    status = {(run.arm, run.seed): run.status for run in study.runs}
    assert len(status) == 9
    assert [status["none", seed] for seed in range(3)] == ["unfinished", "missing", "diverged"]
    assert {status[arm, seed] for arm in ("rope", "learned") for seed in range(3)} == {"finished"}


def test_chooses_by_name_and_scale(study_folder, tmp_path):
    runs = tmp_path / "runs"
    assert [study.key for study in find_studies(runs, ["position"], "nano")] == ["position_nano"]
    with pytest.raises(UserError, match=r"studies: nothing called 'positon' .*; did you mean 'position'?"):
        find_studies(runs, ["positon"], None)
    with pytest.raises(UserError, match=r"scale: nothing called 'nan' .*; did you mean 'nano'?"):
        find_studies(runs, None, "nan")


def test_single_runs_are_those_outside_studies(study_folder, tmp_path):
    runs = tmp_path / "runs"
    shutil.copytree(study_folder / "rope/seed=0", runs / "default/nano/seed=7")
    (found,) = find_single_runs(runs, None)
    assert (found.seed, found.study, found.status) == (7, None, "finished")
    assert find_single_runs(runs, "smoke") == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.update(scale="smoke"), "made at scale 'smoke'"),
        (lambda r: r.update(data="other"), "trained on another corpus \\('other'\\)"),
        (lambda r: r.update(data_fingerprint="beef"), "another version of it"),
        (lambda r: r.update(status="started"), "status is 'started'"),
        (lambda r: r.pop("energy"), "has no 'energy.kwh'"),
        (lambda r: r.update(validation=None), "has no 'validation.loss'"),
    ],
)
def test_a_result_that_cannot_be_used_names_its_file(study_folder, change, message):
    edit(study_folder / "learned/seed=1/result.json", change)
    with pytest.raises(UserError, match=message) as error:
        read_study(study_folder / "study.json")
    assert "learned/seed=1" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rope/seed=0/result.json", '{"status": "fin', "not valid JSON"),
        ("rope/seed=0/result.json", "[]", "not a JSON object"),
        ("rope/seed=0/config.yaml", "a: [", "not valid YAML"),
        ("study.json", '{"name": "position"}', "has no 'question'"),
    ],
)
def test_a_broken_file_is_named(study_folder, name, content, message):
    (study_folder / name).write_text(content)
    with pytest.raises(UserError, match=message) as error:
        read_study(study_folder / "study.json")
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_baseline_must_be_an_arm(study_folder):
    edit(study_folder / "study.json", lambda record: record.update(baseline="rop"))
    with pytest.raises(UserError, match=r"baseline 'rop' is not an arm; did you mean 'rope'?"):
        read_study(study_folder / "study.json")


def test_metrics_survive_a_kill_and_a_resume(study_folder):
    """A resumed run logs steps again, and a kill can cut the last line."""
    path = study_folder / "rope/seed=0/metrics.jsonl"
    run = read_study(study_folder / "study.json").runs[0]
    before = read_metrics(run)
    again = json.dumps({"step": 400, "tokens": 400 * 4096, "train/loss": 9.0})
    path.write_text(path.read_text() + again + '\n{"step": 410, "tok')
    after = read_metrics(run)
    assert list(after["step"]) == list(before["step"])
    assert after.set_index("step").loc[400, "train/loss"] == 9.0
    # the validation row of that step was not logged again and stays
    assert after.set_index("step").loc[400, "validation/loss"] == before.set_index("step").loc[400, "validation/loss"]


def test_a_broken_line_inside_metrics_is_named(study_folder):
    path = study_folder / "rope/seed=0/metrics.jsonl"
    lines = path.read_text().splitlines()
    lines[3] = "{"
    path.write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"metrics\.jsonl:4: not valid JSON"):
        read_metrics(read_study(study_folder / "study.json").runs[0])
