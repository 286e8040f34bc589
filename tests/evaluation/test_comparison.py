"""Scores beside the paper's: which difference is shown, what is claimed, what is missing, and in which files."""

import csv
import html.parser
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from llamalab.common import comparison_files
from llamalab.common.errors import UserError
from llamalab.evaluation import comparison, reference
from llamalab.evaluation.comparison import OUTSIDE, UNJUDGED, WITHIN, compare

LLAMA_7B = 6_738_415_616
Row = dict[str, Any]


def score(task: str, value: float, stderr: float | None, n: int, **changes: Any) -> Row:
    """A row of summary.json."""
    row = {"task": task, "metric": "acc_norm", "value": value, "stderr": stderr, "n": n, "chance": None}
    row |= {"domain": None, "version": 1.0, "prompt_version": 1, "paper_metric": True, "num_fewshot": 0}
    return row | changes


def summary(rows: list[Row], parameters: int | None = LLAMA_7B, **changes: Any) -> dict[str, Any]:
    """What `llamalab eval` puts down."""
    whole = {"suite": "some", "checkpoint": "runs/x", "weights_sha256": "ab", "step": None, "tokens": None}
    whole |= {"parameters": parameters, "rows": rows, "missing": [], "notes": {}, "inputs": {"limit": None}}
    return whole | changes


def rows_of(content: dict[str, Any], table: str = "table_03_common_sense") -> dict[str, Row]:
    """The rows of one table by name."""
    (found,) = [one for one in content["tables"] if one["name"] == table]
    return {row["row"]: row for row in found["rows"]}


COMMON = [
    score("paper_boolq", 0.775, 0.0073, 3270),
    score("paper_boolq", 0.76, 0.0073, 3270, metric="acc", paper_metric=False),
    score("paper_hellaswag", 0.750, 0.0043, 10042),
]


def test_a_difference_beyond_two_standard_errors_is_marked():
    rows = rows_of(compare(summary(COMMON), None))
    assert rows["boolq"]["difference"] == pytest.approx(1.0)
    assert rows["boolq"]["verdict"] == WITHIN
    assert rows["boolq"]["value"] == pytest.approx(77.5)
    assert rows["boolq"]["reference"]["llama_65b"] == 85.3
    assert rows["hellaswag"]["difference"] == pytest.approx(-1.1)
    assert rows["hellaswag"]["verdict"] == OUTSIDE
    assert rows["piqa"]["value"] is None
    assert rows["piqa"]["missing"] == "not in suite some"


@pytest.mark.parametrize("parameters", [1_206_144, 6_600_000_000, None])
def test_a_checkpoint_of_another_size_is_compared_with_nobody(parameters):
    content = compare(summary(COMMON, parameters), None)
    assert content["compared_with"] is None
    assert "No differences are shown" in content["why"]
    assert all(row["difference"] is None and row["verdict"] is None for row in rows_of(content).values())
    titles = [column.title for column in comparison_files.tables_of(content, False)[0].columns]
    assert not {"difference", "verdict"} & set(titles)


def test_a_column_can_be_asked_for_and_is_then_said_to_be_no_test():
    content = compare(summary(COMMON, 1_206_144), "13B")
    assert rows_of(content)["boolq"]["difference"] == pytest.approx(77.5 - 78.1)
    assert "1,206,144 parameters, so they are no test of reproduction" in content["why"]
    assert "no test" not in compare(summary(COMMON), "7B")["why"]
    assert compare(summary(COMMON), "PaLM 62B")["compared_with"] == "palm_62b"
    with pytest.raises(UserError, match="compare_with: no model '14B'"):
        compare(summary(COMMON), "14B")


@pytest.mark.parametrize(
    ("row", "changes", "note"),
    [
        (score("paper_boolq", 0.9, 0.1, 20), {"inputs": {"limit": 20}}, "20 of 3,270 documents"),
        (score("paper_boolq", 0.9, 0.01, 3270, num_fewshot=5), {}, "5-shot, the paper 0-shot"),
        (score("paper_boolq", 0.9, None, 3270), {}, "no standard error"),
        (score("paper_boolq", 0.9, 0.0, 3270), {}, "no standard error"),
        (score("paper_boolq", 0.9, 0.01, 3270), {"notes": {"paper_boolq": ["other data"]}}, "other data"),
        (
            score("paper_trivia_qa_0shot", 0.9, 0.1, 20),
            {"inputs": {"limit": 20}},
            "only the first 20 documents",
        ),
        (
            score("paper_humaneval", 0.9, 0.01, 164, metric="pass@1"),
            {"inputs": {"limit": None, "samples": 2}},
            "2 samples a question, as asked",
        ),
    ],
)
def test_what_differs_in_more_than_the_model_is_not_judged(row, changes, note):
    content = compare(summary([row], **changes), None)
    (found,) = [one for table in content["tables"] for one in table["rows"] if one["task"] == row["task"]]
    assert found["difference"] is not None
    assert found["verdict"] == UNJUDGED
    assert note in found["notes"]
    assert "Of 0 rows that can be judged" in comparison_files.headline(content)


def mmlu(skip: tuple[str, ...] = (), right: float = 0.4) -> list[Row]:
    table = reference.tables()["table_16_mmlu_subjects"]
    return [
        score(f"paper_mmlu_{key}", right, 0.05, row.documents or 0, metric="acc", num_fewshot=5)
        for key, row in table.rows.items()
        if key not in skip
    ]


def test_mmlu_is_averaged_as_the_paper_averages():
    rows = mmlu()
    for row in rows:
        if row["task"] == "paper_mmlu_anatomy":  # counted to Other
            row["value"] = 1.0
    found = rows_of(compare(summary(rows), None), "table_09_mmlu")
    assert found["stem"]["value"] == pytest.approx(40.0)
    assert found["other"]["value"] == pytest.approx(40 + 60 * 135 / 3242)
    assert found["average"]["value"] == pytest.approx(40 + 60 * 135 / 14042)
    assert found["average"]["n"] == 14042
    counts = [row.documents or 0 for row in reference.tables()["table_16_mmlu_subjects"].rows.values()]
    assert found["average"]["stderr"] == pytest.approx(5 * sum(n**2 for n in counts) ** 0.5 / 14042)


def test_an_average_over_some_of_its_parts_is_none():
    found = rows_of(compare(summary(mmlu(skip=("virology",))), None), "table_09_mmlu")
    assert found["stem"]["value"] is not None
    assert found["other"]["value"] is None
    assert found["other"]["missing"] == "13 of 14 parts scored"
    assert found["average"]["missing"] == "56 of 57 parts scored"


def test_what_is_missing_says_why():
    gaps = [
        {"task": "paper_siqa", "domain": None, "reason": "no such file siqa/dev.jsonl.gz"},
        {"task": "paper_mmlu", "domain": None, "reason": "no such file mmlu.tar.gz"},
    ]
    infinite = score("paper_wikitext", float("inf"), None, 9, metric="perplexity", paper_metric=False)
    truthful = score("paper_truthful_qa_generation", 0.5, 0.1, 817, metric="bleu_acc", paper_metric=False)
    content = compare(summary([*COMMON, infinite, truthful], missing=gaps), None)
    assert rows_of(content)["siqa"]["missing"] == "no such file siqa/dev.jsonl.gz"
    # a group that is missing as a whole
    assert rows_of(content, "table_16_mmlu_subjects")["anatomy"]["missing"] == "no such file mmlu.tar.gz"
    assert rows_of(content, "table_09_mmlu")["average"]["missing"] == "0 of 57 parts scored"
    assert rows_of(content, "wikitext2")["test"]["missing"] == "the score is not a finite number"
    assert "judges" in rows_of(content, "table_14_truthful_qa")["truthful"]["missing"]
    assert "table_06_race" not in {table["name"] for table in content["tables"]}
    json.dumps(content, allow_nan=False)


def test_stock_metrics_stand_beside_published_ones_without_a_claim():
    (stock,) = compare(summary(COMMON), None)["stock"]
    assert (stock["task"], stock["metric"], stock["value"]) == ("paper_boolq", "acc", 0.76)
    # only the harness whose LLaMA tokenisation was right
    assert [(one["model"], one["value"]) for one in stock["published"]] == [("llama_7b", 0.7511)]


class Cells(html.parser.HTMLParser):
    """The text of a page's cells, by row."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self._open = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._open = True

    def handle_endtag(self, tag: str) -> None:
        self._open = self._open and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._open:
            self.rows[-1][-1] += data


def printed(group: Any, width: int = 100) -> str:
    text = io.StringIO()
    Console(file=text, width=width).print(group)
    return text.getvalue()


def test_the_files_say_the_same(tmp_path: Path):
    tricky = "a_b & 100% of {siqa} | #1 <x>"
    gaps = [{"task": "paper_siqa", "domain": None, "reason": tricky}]
    group = comparison.write(summary(COMMON, missing=gaps), tmp_path, None, False)
    assert {path.name for path in tmp_path.iterdir()} == {
        f"comparison.{kind}" for kind in ("json", "md", "csv", "tex", "html")
    }

    with (tmp_path / "comparison.csv").open() as file:
        exact = {row["row"]: row for row in csv.DictReader(file)}
    assert float(exact["hellaswag"]["difference"]) == pytest.approx(-1.1)
    assert exact["siqa"]["missing"] == tricky
    assert exact["boolq"]["palm_540b"] == "88.0"
    assert exact["boolq"]["source"] == "paper_pdf paper_html paper_markdown"
    assert exact["boolq"]["verified"] == "True"

    lines = (tmp_path / "comparison.md").read_text().splitlines()
    cells = [re.split(r" (?<!\\)\| ", line.strip("| ")) for line in lines if line.startswith("|")]
    (found,) = [row for row in cells if row[0] == "HellaSwag"]
    shown = Cells((tmp_path / "comparison.html").read_text()).rows
    assert found in shown
    expected = [
        "HellaSwag",
        "75.0",
        "0.43",
        "76.1",
        "79.2",
        "82.8",
        "84.2",
        "\N{MINUS SIGN}1.1",
        OUTSIDE,
        "10,042",
        "0",
    ]
    assert found[:11] == expected
    assert any(tricky in cell for row in shown for cell in row)
    assert "Partial: 2 of 8 rows were scored." in "\n".join(lines)

    tex = (tmp_path / "comparison.tex").read_text()
    assert r"a\_b \& 100\% of \{siqa\} | \#1 <x>" in tex
    assert tex.count(r"\begin{table}") == tex.count(r"\end{table}") == tex.count(r"\caption{") == 2
    assert r"$-$1.1" in tex
    assert not [sign for sign in ("\N{MINUS SIGN}", "±", "\N{EN DASH}") if sign in tex]

    said = printed(group)
    for part in (
        "Table 3",
        "75.0 ± 0.4",
        "beyond",
        "missing",
        tricky,
        "Partial: 2 of 8 rows",
        "claimed",
    ):
        assert part in said, part
    assert "PaLM" not in said
    assert "PaLM 540B" in printed(comparison.write(summary(COMMON), tmp_path, None, True), 200)


def test_nothing_is_written_where_no_score_is_the_papers(tmp_path: Path):
    comparison.write(summary(COMMON), tmp_path, None, False)
    other = score("heldout_continuation", 0.5, 0.1, 9)
    assert comparison.write(summary([other]), tmp_path, None, False) is None
    assert not list(tmp_path.iterdir())  # nor does an earlier one stay


def test_a_limited_table_says_so_and_a_whole_one_does_not():
    limited = [score("paper_boolq", 0.5, 0.1, 20)]
    captions = [
        comparison_files.tables_of(compare(summary(rows, inputs={"limit": limit}), None), False)[0].caption
        for rows, limit in ((limited, 20), (COMMON, 20_000))
    ]
    assert "only the first 20 documents of each task were scored (limit)" in captions[0]
    assert "limit" not in captions[1]
