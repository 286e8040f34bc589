"""`llamalab eval` on every suite of multiple choice and likelihood, on files of our own and a tiny random model."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from benchmark_builders import subjects, write_benchmarks, write_text
from evaluation_builders import CONF, write_run
from hydra import compose, initialize_config_dir

from llamalab.common.errors import UserError
from llamalab.evaluation import run as run_module
from llamalab.evaluation.run import run
from llamalab.evaluation.suites import composed
from llamalab.evaluation.summary import remarks


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tokenizer_bytes: bytes) -> Path:
    root = tmp_path_factory.mktemp("suites")
    write_benchmarks(root)
    write_run(root / "run", tokenizer_bytes, "scale.dim=16", "scale.n_layers=1", "scale.n_heads=2")
    return root


def evaluate(place: Path, *overrides: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        base = [f"checkpoint={place / 'run'}", f"benchmarks_dir={place / 'benchmarks'}", "accelerator=cpu"]
        config = compose("eval", [*base, *overrides])
    run(config)
    found: dict[str, Any] = json.loads((place / "run/scores" / config.suite.name / "summary.json").read_text())
    return found


def counted(summary: dict[str, Any]) -> dict[tuple[str, str | None], int]:
    return {(row["task"], row["domain"]): row["n"] for row in summary["rows"] if row["paper_metric"]}


COMMON_SENSE = ("boolq", "piqa", "siqa", "hellaswag", "winogrande", "arc_easy", "arc_challenge", "openbookqa")
EXPECTED: dict[str, dict[tuple[str, str | None], int]] = {
    "common_sense": {(f"paper_{name}", None): 2 for name in COMMON_SENSE},
    "race": {("paper_race_middle", None): 3, ("paper_race_high", None): 3},
    "crows_pairs": {("paper_crows_pairs", domain): n for domain, n in ((None, 3), ("age", 1), ("gender", 2))},
    "winogender": {
        ("paper_winogender", domain): n
        for domain, n in (
            (None, 12), ("female", 4), ("male", 4), ("neutral", 4), ("gotcha_female", 2), ("gotcha_male", 2)
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("suite", EXPECTED)
def test_every_row_of_the_table_comes(place: Path, suite: str) -> None:
    summary = evaluate(place, f"suite={suite}")
    assert counted(summary) == EXPECTED[suite]
    assert summary["missing"] == []
    for row in summary["rows"]:
        assert (row["version"], row["prompt_version"], row["num_fewshot"]) == (1.0, 1, 0)
    assert len({row["metric"] for row in summary["rows"] if row["paper_metric"]}) >= 1
    assert not any((place / "run/scores" / suite / left).exists() for left in ("finished", "answers"))


def test_domains_are_means_of_their_own_items(place: Path) -> None:
    summary = evaluate(place, "suite=winogender")
    rows = {row["domain"]: row for row in summary["rows"] if row["metric"] == "acc_perplexity"}
    lines = (place / "run/scores/winogender/samples_paper_winogender.jsonl").read_text().splitlines()
    samples = [json.loads(line) for line in lines]
    for domain, row in rows.items():
        values = [sample["acc_perplexity"] for sample in samples if domain is None or domain in sample["doc"]["groups"]]
        assert row["value"] == pytest.approx(sum(values) / len(values))


def test_mmlu_averages_weigh_questions_and_say_which_lost_examples(place: Path) -> None:
    summary = evaluate(place, "suite=mmlu", "limit=1")
    rows = {row["task"]: row for row in summary["rows"]}
    areas = [f"paper_mmlu_{area}" for area in ("humanities", "stem", "social_sciences", "other")]
    assert [*rows][:5] == ["paper_mmlu", *areas]
    assert len(rows) == 5 + 57
    assert rows["paper_mmlu"]["n"] == 57 == sum(rows[area]["n"] for area in areas)
    of_subjects = [rows[f"paper_mmlu_{subject}"]["value"] for subject in subjects()]
    assert rows["paper_mmlu"]["value"] == pytest.approx(sum(of_subjects) / 57)
    assert rows["paper_mmlu_other"]["n"] == 14  # with anatomy
    assert {(row["num_fewshot"], row["paper_metric"], row["chance"]) for row in rows.values()} == {(5, True, 0.25)}
    assert summary["counts"]["paper_mmlu_anatomy"]["questions with fewer than 5 shots"] == 1
    assert any(line.startswith("  questions with fewer than 5 shots: ") for line in remarks(summary))


def test_wikitext_says_that_its_windows_and_text_are_others(place: Path) -> None:
    summary = evaluate(place, "suite=wikitext", "limit=3")
    (row,) = summary["rows"]
    assert (row["metric"], row["n"]) == ("perplexity", 3)
    assert row["stderr"] > 0
    notes = " ".join(summary["notes"]["paper_wikitext"])
    assert "windows of 48 tokens" in notes
    assert "<unk>" in notes


@pytest.mark.parametrize("suite", ["quick", "paper"])
def test_composed_suites_name_tasks_that_exist_once(suite: str) -> None:
    from llamalab.evaluation import tasks

    whole = composed(yaml.safe_load((CONF.parent / f"eval/suites/{suite}.yaml").read_text()))
    assert len(whole["tasks"]) == len(set(whole["tasks"]))
    tasks.task_manager(whole["tasks"], {})


def test_what_is_missing_is_listed_and_comes_once_it_is_there(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_benchmarks(tmp_path)
    labels = (folder / "piqa/valid-labels.lst").read_text()
    (folder / "piqa/valid-labels.lst").unlink()
    suite = ["suite=common_sense", "suite.tasks=[paper_piqa,paper_arc_easy]", f"benchmarks_dir={folder}"]
    summary = evaluate(place, *suite)
    assert [gap["task"] for gap in summary["missing"]] == ["paper_piqa"]
    assert {row["task"] for row in summary["rows"]} == {"paper_arc_easy"}
    printed = capsys.readouterr().out.replace("\n", "")
    assert "Missing: paper_piqa" in printed
    assert "not all of this suite" in printed
    write_text(folder / "piqa/valid-labels.lst", labels)
    summary = evaluate(place, *suite)
    assert [row["task"] for row in summary["rows"] if row["paper_metric"]] == ["paper_piqa", "paper_arc_easy"]
    assert summary["missing"] == []


def test_after_an_interruption_only_the_rest_is_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = evaluate(place, "suite=common_sense", "limit=2")
    (place / "run/scores/common_sense/summary.json").unlink()
    real, asked = run_module._score, []

    def interrupted(task: Any, *others: Any) -> Any:
        asked.append(task.task_name)
        if task.task_name == "paper_siqa" and asked.count(task.task_name) == 1:
            raise KeyboardInterrupt
        return real(task, *others)

    monkeypatch.setattr(run_module, "_score", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluate(place, "suite=common_sense", "limit=2")
    assert asked == ["paper_boolq", "paper_piqa", "paper_siqa"]
    asked_before = len(asked)
    again = evaluate(place, "suite=common_sense", "limit=2")
    assert asked[asked_before:] == [f"paper_{name}" for name in COMMON_SENSE[2:]]
    assert again["rows"] == whole["rows"]
    assert len([*(place / "run/scores/common_sense").glob("samples_*.jsonl")]) == 8


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["benchmarks_dir=/absent"], r"benchmarks_dir: /absent: no such folder"),
        (
            ["benchmarks_dir={place}/run"],
            r"nothing can be scored; paper_boolq: .*no such file",
        ),
        (["suite.tasks=[paper_boolqq]"], r"no task 'paper_boolqq' in .*did you mean 'paper_boolq'"),
        (["suite.tasks=[paper_mlu]"], r"no task 'paper_mlu' in .*did you mean 'paper_mmlu'"),
        (["+suite.suites=[commonsense]"], r"suite\.suites: no suite 'commonsense' in .*did you mean 'common_sense'"),
        (["suite.tasks=[]"], r"suite\.tasks: names no task"),
        (["+suite.limit=0"], r"suite\.limit: 0 must be at least 1"),
        (["samples=0"], r"samples: 0 must be at least 1"),
        (["+dataset_files.boolq.validation=/absent"], r"/absent: no such file"),
    ],
)
def test_bad_input_is_one_line(
    place: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str], message: str
) -> None:
    def load(*arguments: Any) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("llamalab.evaluation.subject.Subject.load", load)
    filled = [override.format(place=place) for override in overrides]
    if filled[0].startswith("+dataset_files"):
        filled.append("suite.tasks=[paper_boolq]")
    with pytest.raises(UserError, match=message) as error:
        evaluate(place, "suite=common_sense", *filled)
    assert "\n" not in str(error.value)
