"""The paper's tables and figures on the page, from comparison.json and from eval/ rows of metrics.jsonl."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from report_builders import write_json, write_run, write_study

from llamalab.analysis import paper_curves, report, training_curves
from llamalab.analysis.comparisons import find_comparisons
from llamalab.analysis.records import find_single_runs, find_studies
from llamalab.common.errors import UserError


def comparison(value: float, n: int) -> dict[str, Any]:
    """comparison.json with one scored and one missing row of Table 6."""
    shared = {"metric": "acc", "num_fewshot": 0, "version": 1.0, "prompt_version": 1, "variants": [], "tried": True}
    rows = [
        {"row": "middle", "label": "RACE-middle", "task": "paper_race_middle", "value": value, "stderr": 1.3, "n": n}
        | {"documents": 1436, "partial": n < 1436, "reference": {"llama_7b": 61.1, "palm_8b": 57.9}, "notes": []}
        | {"difference": value - 61.1, "verdict": "within 2 stderr", "missing": None},
        {"row": "high", "label": "RACE-high", "task": "paper_race_high", "value": None, "stderr": None, "n": None}
        | {"documents": 3498, "partial": False, "reference": {"llama_7b": 46.9}, "notes": []}
        | {"difference": None, "verdict": None, "missing": "no such file test_high.jsonl.gz"},
    ]
    table = {"name": "table_06_race", "number": 6, "title": "RACE", "measure": "accuracy", "unit": "percent"}
    table |= {"higher_is_better": True, "source": ["paper_pdf"], "verified": True, "models": ["palm_8b", "llama_7b"]}
    table |= {"notes": [], "scored": 1, "whole": False, "rows": [row | shared for row in rows]}
    models = {
        "llama_7b": {"label": "7B", "parameters": 6738415616},
        "palm_8b": {"label": "PaLM 8B", "parameters": None},
    }
    return {
        "suite": "race",
        "checkpoint": "somewhere",
        "limit": None,
        "compared_with": "llama_7b",
        "why": "As asked.",
    } | {
        "models": models,
        "tables": [table],
        "stock": [],
    }


@pytest.fixture
def single(tmp_path: Path) -> Path:
    """A single run with scores on the way: of a benchmark of Figure 2 and of one that is not in it."""
    path = tmp_path / "runs/plain/nano/seed=0"
    write_run(path, None, "rope", 3, 0.0, 24_000)
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    for step in (100, 300, 500):
        scores = {"paper_hellaswag/acc_norm": 0.25 + step / 5000, "paper_hellaswag/acc_norm_stderr": 0.01}
        scores |= {"paper_hellaswag/acc": 0.2, "other/perplexity": 9.0}
        rows.append({"step": step, "tokens": step * 4096} | {f"eval/{key}": value for key, value in scores.items()})
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


def test_comparisons_are_on_the_page_and_beside_it(single, report_config, tmp_path):
    write_json(single / "scores/race/comparison.json", comparison(60.0, 1436))
    rows = [
        {"task": task, "metric": "acc", "value": 0.6, "stderr": 0.01, "chance": 0.25, "n": 9, "domain": None}
        for task in ("paper_race_middle", "other")
    ]
    write_json(single / "scores/race/summary.json", {"suite": "race", "step": 1, "rows": rows})
    report.run(report_config())
    page = (tmp_path / "reports/index.html").read_text()
    for text in (
        "Table 6: RACE",
        "Partial: 1 of 2 rows were scored.",
        "missing: no such file test_high.jsonl.gz",
        "As asked.",
    ):
        assert text in page, text
    assert "PaLM 8B" not in page
    files = {path.name for path in (tmp_path / "reports/comparisons").iterdir()}
    assert files == {f"plain_nano_seed_0_race.{kind}" for kind in ("md", "csv", "tex", "html")}
    # what stands in the paper's tables is not listed again
    assert [row["task"] for row in table(tmp_path / "reports/tables/scores.csv")] == ["other"]
    report.run(report_config(other_models=True))
    assert "PaLM 8B" in (tmp_path / "reports/index.html").read_text()


def test_several_checkpoints_stand_side_by_side(single, report_config, tmp_path):
    write_json(single / "scores/race/comparison.json", comparison(60.0, 1436))
    write_json(tmp_path / "runs/others/scores/race/comparison.json", comparison(30.0, 20))
    report.run(report_config())
    middle, high = table(tmp_path / "reports/tables/side_by_side_table_06_race.csv")
    assert [middle[f"ours {key}"] for key in ("others_race", "plain_nano_seed_0_race")] == ["30.0 ± 1.3*", "60.0 ± 1.3"]
    assert middle["ours others_race value"] == "30.0"
    assert high["ours others_race"] == ""
    assert middle["llama_7b"] == "61.1"


def test_a_broken_comparison_is_one_line(tmp_path):
    write_json(tmp_path / "runs/x/scores/race/comparison.json", {"suite": "race"})
    with pytest.raises(UserError, match=r"comparison\.json: has no 'checkpoint'; delete the file and repeat"):
        find_comparisons([tmp_path / "runs"])


def test_figures_1_and_2_are_drawn_from_the_runs(single, report_config, tmp_path):
    report.run(report_config())
    figures = {path.stem for path in (tmp_path / "reports/figures").glob("paper_figure_*.svg")}
    assert figures == {"paper_figure_1", "paper_figure_2_paper_hellaswag", "paper_figure_2_other"}
    hellaswag = (tmp_path / "reports/figures/paper_figure_2_paper_hellaswag.svg").read_text()
    for text in ("plain/nano", "paper, 7B", "paper, 65B", "Chinchilla 70B", "HellaSwag"):
        assert text in hellaswag, text
    other = (tmp_path / "reports/figures/paper_figure_2_other.svg").read_text()
    assert "paper, 7B" not in other
    assert "perplexity" in other
    loss = (tmp_path / "reports/figures/paper_figure_1.svg").read_text()
    assert "LLaMA's tokenizer and text" in loss
    page = (tmp_path / "reports/index.html").read_text()
    assert "only the shapes compare" in page
    assert page.index("figure-paper_figure_2_paper_hellaswag") < page.index("figure-paper_figure_2_other")


def test_curves_hold_what_the_runs_logged(single, tmp_path):
    write_study(tmp_path / "runs")
    studies, singles = find_studies(tmp_path / "runs", None, None), find_single_runs(tmp_path / "runs", None)
    # of a study the baseline alone
    assert set(training_curves.loss_groups(studies, singles)) == {"position_nano: rope", "plain/nano"}
    assert training_curves.scored(training_curves.groups_of(studies, [])) == []
    found = training_curves.scored(training_curves.groups_of(studies, singles))
    assert [(one.task, one.metric) for one in found] == [("paper_hellaswag", "acc_norm"), ("other", "perplexity")]
    assert list(found[0].curves) == ["plain/nano"]
    (curve,) = found[0].curves["plain/nano"]
    assert curve["tokens"].tolist() == [409600, 1228800, 2048000]
    assert curve["loss"].tolist() == pytest.approx([0.27, 0.31, 0.35])
    assert found[0].errors["plain/nano"][0]["loss"].tolist() == [0.01] * 3


def test_the_papers_curves_are_read():
    loss = paper_curves.training_loss()
    assert list(loss) == ["7B", "13B", "33B", "65B"]
    assert loss["7B"].iloc[-1].tolist() == [1e12, 1.804]
    panels = {panel.task: panel for panel in paper_curves.panels()}
    assert len(panels) == 6
    assert panels["paper_trivia_qa_5shot"].curves["65B"]["value"].iloc[-1] == 72.3
