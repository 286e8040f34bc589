"""The whole report on synthetic runs: numbers, files, page, determinism, bad input."""

import csv
import html.parser
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from report_builders import config_of_report, write_everything, write_study

from llamalab.analysis import report
from llamalab.analysis.statistics import welch_difference
from llamalab.common.errors import UserError


class PageReader(html.parser.HTMLParser):
    """Collects what the tests ask about: addresses, identifiers, and the text of tables."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.addresses: list[tuple[str, str, str]] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.rows: dict[str, list[list[str]]] = {}
        self._table = ""
        self._in_cell = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        self.addresses += [(tag, key, values[key]) for key in ("src", "href", "xlink:href", "srcset") if key in values]
        if "id" in values:
            self.ids.append(values["id"])
        if tag == "figure":
            self._table = values["id"]
        if tag == "tr":
            self.rows.setdefault(self._table, []).append([])
        if tag in ("td", "th"):
            self.rows[self._table][-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.rows[self._table][-1][-1] += data


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one finished study in runs/ and its report in reports/; tests only read it."""
    folder = tmp_path_factory.mktemp("finished")
    write_everything(folder)
    report.run(config_of_report(folder))
    return folder


@pytest.fixture
def reports(finished: Path) -> Path:
    """The report of one finished study; tests only read it."""
    return finished / "reports"


def read_csv(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


def final_losses(study: Path, arm: str) -> list[float]:
    return [json.loads((study / arm / f"seed={s}/result.json").read_text())["validation"]["loss"] for s in range(3)]


def test_arms_table_is_what_the_runs_say(finished, reports):
    study_folder = finished / "runs/position/nano"
    rows = {row["arm"]: row for row in read_csv(reports / "tables/position_nano_arms.csv")}
    assert list(rows) == ["rope", "learned", "none"]
    baseline = final_losses(study_folder, "rope")
    for arm, row in rows.items():
        losses = final_losses(study_folder, arm)
        assert float(row["loss"]) == pytest.approx(np.mean(losses), rel=1e-12)
        assert float(row["loss_sd"]) == pytest.approx(np.std(losses, ddof=1), rel=1e-9)
        if arm == "rope":
            assert row["difference"] == row["low"] == ""
            continue
        expected = welch_difference(losses, baseline, 0.95)
        found = [float(row[key]) for key in ("difference", "low", "high")]
        assert found == pytest.approx([expected.estimate, expected.low, expected.high], rel=1e-9)
    assert float(rows["learned"]["total_parameters"]) - float(rows["rope"]["total_parameters"]) == 32_768


def test_page_markdown_and_csv_show_the_same_table(reports):
    page = PageReader((reports / "index.html").read_text())
    shown = page.rows["position_nano_arms"]
    lines = (reports / "tables/position_nano_arms.md").read_text().splitlines()
    markdown = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert shown == [markdown[0], *markdown[2:]]
    exact = read_csv(reports / "tables/position_nano_arms.csv")
    assert len(shown) == len(exact) + 1
    for cells, row in zip(shown[1:], exact, strict=True):
        assert cells[shown[0].index("loss")] == f"{float(row['loss']):.4f}"
        assert cells[shown[0].index("bits per byte")] == f"{float(row['bits_per_byte']):.4f}"


def test_page_has_every_part(reports):
    text = (reports / "index.html").read_text()
    ids = PageReader(text).ids
    sections = ["verdicts", "setup", "data", "study-position_nano", "scores-section", "throughput", "energy-section"]
    figures = ["validation_loss", "difference", "training_loss", "forest", "throughput"]
    tables = ["audit_embedded_bpe4096", "position_nano_arms", "position_nano_domains", "scores", "energy", "runs"]
    for name in [*sections, *(f"figure-position_nano_{figure}" for figure in figures), *tables]:
        assert name in ids
    for part in (
        "Against rope (",  # headline
        "0123456789abcdef",  # commit
        "torch 2.13.0",  # versions
        "AMD EPYC 9B14",  # hardware
        "precision: bf16-mixed",  # configuration
        "stackexchange is empty",  # audit
        "standard errors from the 25% of guessing",  # score against chance
        "kWh = device hours",  # formula
    ):
        assert part in text


def test_page_needs_nothing_else(reports):
    text = (reports / "index.html").read_text()
    for tag, _, address in PageReader(text).addresses:
        assert address.startswith("#") or (tag == "a" and (reports / address).is_file()), address
    for loader in ("<script", "@import", "<link", "<iframe", "url(http", "url(//"):
        assert loader not in text


def test_page_names_no_element_twice(reports):
    ids = PageReader((reports / "index.html").read_text()).ids
    assert len(ids) == len(set(ids))


def test_page_fits_a_phone(reports):
    """Nothing has a fixed width beyond 360 pixels, and every table scrolls in a container of its own."""
    text = (reports / "index.html").read_text()
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in text
    assert re.findall(r"<table", text)
    assert len(re.findall(r"<table", text)) == len(re.findall(r'<div class="scroll"[^>]*>\s*<table', text))
    assert not re.search(r"<svg[^>]* width=", text)
    style = text[text.index("<style>") : text.index("</style>")]
    assert max(int(width) for width in re.findall(r"(?<!max-)(?:min-)?width: (\d+)px", style)) <= 360
    assert "@media print" in style
    assert "prefers-color-scheme: dark" in style


def test_same_runs_give_the_same_bytes(finished, reports, tmp_path):
    before = {path.relative_to(reports): path.read_bytes() for path in reports.rglob("*.*")}
    assert {path.suffix for path in before} == {".html", ".csv", ".md", ".svg", ".png", ".txt"}
    report.run(config_of_report(finished, out=str(tmp_path / "again")))
    after = {path.relative_to(tmp_path / "again"): path.read_bytes() for path in (tmp_path / "again").rglob("*.*")}
    assert before.keys() == after.keys()
    assert [name for name in before if before[name] != after[name]] == []


def test_diverged_and_missing_runs_are_counted(study_folder, report_config, tmp_path):
    path = study_folder / "learned/seed=1/result.json"
    result = json.loads(path.read_text())
    path.write_text(json.dumps(result | {"status": "diverged", "diverged_at_step": 77, "validation": None}))
    shutil.rmtree(study_folder / "none/seed=0")
    (study_folder / "none/seed=1/result.json").unlink()
    report.run(report_config())
    rows = {row["arm"]: row for row in read_csv(tmp_path / "reports/tables/position_nano_arms.csv")}
    assert [rows["learned"][key] for key in ("seeds", "diverged", "absent")] == ["2", "1 of 3 (1 to 91%)", "0"]
    assert [rows["none"][key] for key in ("seeds", "diverged", "absent")] == ["1", "0", "2"]
    assert rows["none"]["low"] == ""
    assert float(rows["none"]["difference"]) > 0
    listed = {row["run"]: row for row in read_csv(tmp_path / "reports/tables/runs.csv")}
    assert len(listed) == 9
    assert listed["position/nano/learned/seed=1"]["diverged_at_step"] == "77.0"
    assert listed["position/nano/none/seed=0"]["status"] == "missing"
    assert listed["position/nano/none/seed=1"]["status"] == "unfinished"
    page = (tmp_path / "reports/index.html").read_text()
    assert "9 runs: 6 finished, 1 diverged, 1 unfinished and 1 missing." in page
    assert "1 run(s) diverged" in page
    assert "too few or identical values give no interval" in page


def test_two_seeds_are_said_to_be_few(tmp_path, report_config):
    write_study(tmp_path / "runs", seeds=(0, 1))
    report.run(report_config())
    page = (tmp_path / "reports/index.html").read_text()
    assert "With 2 seeds an interval rests on very few degrees of freedom" in page
    assert "for want of a pilot" in page
    assert "seeds are not paired" in page


def test_a_study_without_any_finished_run_still_has_a_page(study_folder, report_config, tmp_path):
    for path in study_folder.rglob("result.json"):
        path.unlink()
    report.run(report_config())
    assert "No run of this study has finished yet." in (tmp_path / "reports/index.html").read_text()


def test_single_runs_alone_make_a_page(study_folder, report_config, tmp_path):
    shutil.copytree(study_folder / "rope/seed=0", tmp_path / "single/default/nano/seed=0")
    report.run(report_config(runs_dir=str(tmp_path / "single")))
    page = (tmp_path / "reports/index.html").read_text()
    assert "default/nano/seed=0" in page
    assert "No study was found" in page


def test_files_of_an_earlier_report_do_not_stay(study_folder, report_config, tmp_path):
    report.run(report_config())
    reports = tmp_path / "reports"
    assert list(reports.glob("*/position_*"))
    (tmp_path / "runs/position").rename(tmp_path / "runs/renamed")
    study = tmp_path / "runs/renamed/nano/study.json"
    study.write_text(study.read_text().replace('"name": "position"', '"name": "renamed"'))
    report.run(report_config())
    assert not list(reports.glob("*/position_*"))
    assert list(reports.glob("tables/renamed_nano_arms.csv"))


def test_results_are_printed(study_folder, report_config, tmp_path, capsys):
    report.run(report_config())
    printed = capsys.readouterr().out
    for text in ("rope", "learned", "95% interval", "worse", f"{tmp_path}/reports/index.html"):
        assert text in printed
    assert max(len(line) for line in printed.splitlines() if "│" in line or "learned" in line[:12]) <= 80


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"runs_dir": "nowhere"}, "runs_dir: no runs under 'nowhere'"),
        ({"studies": ["positions"]}, "did you mean 'position'?"),
        ({"studies": "norm"}, "studies: nothing called 'norm'"),
        ({"only_scale": "65b"}, "only_scale: nothing called '65b'"),
        ({"records": "nowhere"}, "records: no archived study in 'nowhere'"),
        ({"log_to_mlflow": "perhaps"}, "log_to_mlflow: 'perhaps'"),
    ],
)
def test_bad_input_is_one_line(study_folder, report_config, overrides, message):
    with pytest.raises(UserError) as error:
        report.run(report_config(**overrides))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
