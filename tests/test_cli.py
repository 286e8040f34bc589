"""The console script: what it says about itself, and how it ends."""

import subprocess
import sys
from pathlib import Path

import command_line
import pytest
import yaml

import llamalab
from llamalab import cli
from llamalab.common.errors import UserError


def test_help_lists_every_verb_in_one_screen():
    for flag in ("--help", "-h", "help"):
        outcome = command_line.run_here(flag)
        assert outcome.code == 0
        assert outcome.stderr == ""
        assert len(outcome.stdout.splitlines()) <= 24
        for name, verb in cli.VERBS.items():
            assert f"\n{name} " in outcome.stdout
            assert verb.does.split()[0] in outcome.stdout


def test_without_a_verb_it_shows_the_help():
    out = subprocess.run([sys.executable, "-m", "llamalab.cli"], capture_output=True, text=True, check=True)
    assert out.stdout.startswith("Usage: llamalab <verb>")
    assert out.stderr == ""


def test_version():
    assert command_line.run_here("--version") == command_line.Outcome(0, f"{llamalab.__version__}\n", "")


@pytest.mark.parametrize(
    ("verb", "suggestion"),
    [
        ("trian", "; did you mean 'train'?"),
        ("evaluate", "; did you mean 'eval'?"),
        ("xyz", "; choose from convert, data, eval"),
    ],
)
def test_an_unknown_verb_with_a_suggestion(verb, suggestion):
    outcome = command_line.run_here(verb, "scale=smoke")
    assert outcome.code == 2
    assert outcome.stdout == ""
    assert outcome.error_lines[0].startswith(f"llamalab: {verb}: no such verb{suggestion}")
    assert len(outcome.error_lines) == 1


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["trian"]])
def test_what_needs_no_torch_does_not_wait_for_it(arguments):
    code = (
        "import sys\nfrom llamalab import cli\n"
        f"try:\n    cli.main({arguments!r})\nexcept SystemExit:\n    pass\n"
        "slow = {'torch', 'lightning', 'mlflow', 'lm_eval'} & set(sys.modules)\nassert not slow, slow"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_shows_its_config_and_runs_nothing(verb, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = command_line.run_here(verb, "--cfg", "job")
    assert outcome.code == 0, outcome.stderr
    assert outcome.stderr == ""
    assert yaml.safe_load(outcome.stdout)
    assert not list(tmp_path.iterdir())


def test_a_verbs_help_lists_the_choices():
    outcome = command_line.run_here("train", "--help")
    assert outcome.code == 0
    assert "position: alibi, learned, none, rope, rope_dynamic" in outcome.stdout
    assert "norm_placement, pilot, position" in outcome.stdout


def test_options_may_stand_between_overrides(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = command_line.run_here("train", "scale=smoke", "--cfg", "job", "seed=3")
    assert outcome.code == 0, outcome.stderr
    config = yaml.safe_load(outcome.stdout)
    assert (config["scale"]["name"], config["seed"]) == ("smoke", 3)


@pytest.mark.parametrize(
    ("raised", "code", "line"),
    [
        (UserError("scale.dim: [bold] is wrong"), 2, "llamalab: scale.dim: [bold] is wrong"),
        (KeyboardInterrupt(), 130, "llamalab: interrupted"),
        (
            PermissionError(13, "Permission denied", "/runs"),
            2,
            "llamalab: /runs: permission denied; choose another folder or make room",
        ),
    ],
)
def test_exceptions_become_one_line_and_a_code(monkeypatch, raised, code, line):
    def failing(*_: object) -> None:
        raise raised

    monkeypatch.setattr("llamalab.common.hydra_app.hydra_main", failing)
    assert command_line.run_here("plan") == command_line.Outcome(code, "", f"{line}\n")


def test_a_bug_keeps_its_traceback(monkeypatch):
    def failing(*_: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr("llamalab.common.hydra_app.hydra_main", failing)
    with pytest.raises(ZeroDivisionError):
        command_line.run_here("plan")


def test_a_long_line_is_not_folded(monkeypatch):
    message = "scale.dim: " + "very " * 60 + "wrong"

    def failing(*_: object) -> None:
        raise UserError(message)

    monkeypatch.setattr("llamalab.common.hydra_app.hydra_main", failing)
    assert command_line.run_here("plan").stderr == f"llamalab: {message}\n"


def test_a_reader_that_leaves_is_no_error():
    """`llamalab train --cfg job | head -1`"""
    done = subprocess.run(
        [f"{sys.executable} -m llamalab.cli train --cfg job | head -1; echo ${{PIPESTATUS[0]}}"],
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["name: default", "0"]
    assert done.stderr == ""


def test_the_console_script_is_this():
    script = Path(sys.executable).with_name("llamalab")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == llamalab.__version__
