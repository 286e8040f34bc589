"""The real files, where they are at hand: every row is read, and there are as many as the paper's benchmarks have."""

import os
from collections import Counter
from pathlib import Path

import pytest
import yaml

from llamalab.evaluation import benchmarks
from llamalab.evaluation.benchmarks.race import in_sequence
from llamalab.evaluation.benchmarks.winogender import questions

SHARED = Path(os.environ.get("LLAMALAB_SHARED_DATA", Path(__file__).parents[4] / "shared/data"))
FOLDER = SHARED / "benchmarks"
COUNTS = {
    ("boolq", None): 3270,
    ("piqa", None): 1838,
    ("siqa", None): 1954,
    ("hellaswag", None): 10042,
    ("winogrande", None): 1267,
    ("arc_easy", None): 2376,
    ("arc_challenge", None): 1172,
    ("openbookqa", None): 500,
    ("race", "middle"): 1436,
    ("race", "high"): 3498,
    ("crows_pairs", None): 1508,
    ("winogender", None): 720,
    ("wikitext", None): 4359,  # 4358 lines and the end
}


@pytest.fixture(autouse=True)
def _files_at_hand() -> None:
    if not FOLDER.is_dir():
        pytest.skip(f"{FOLDER} is absent: the benchmarks' real files cannot be checked")


@pytest.mark.parametrize(("dataset", "subset"), COUNTS)
def test_every_row_is_read(dataset: str, subset: str | None) -> None:
    (rows,) = benchmarks.load(dataset, str(FOLDER), subset).values()
    assert len(rows) == COUNTS[dataset, subset]


def test_mmlu_has_its_questions_in_the_papers_areas() -> None:
    from benchmark_builders import EVAL, subjects

    areas = {"humanities": 4705, "stem": 3153 - 135, "social_sciences": 3077, "other": 3107 + 135}
    lists = {area: yaml.safe_load((EVAL / f"tasks/mmlu/{area}.yaml").read_text())["task"] for area in areas}
    counted = dict.fromkeys(areas, 0)
    for subject in subjects():
        splits = benchmarks.load("mmlu", str(FOLDER), subject)
        assert len(splits["dev"]) == 5
        (area,) = (name for name, listed in lists.items() if f"paper_mmlu_{subject}" in listed)
        counted[area] += len(splits["test"])
    # lm-eval's mmlu_stem and mmlu_other, which have anatomy's 135 questions in STEM
    assert counted == areas
    assert sum(counted.values()) == 14042


def test_table_13_has_its_groups() -> None:
    asked = questions(benchmarks.load("winogender", str(FOLDER))["test"])["groups"]
    groups = Counter(name for of_row in asked for name in of_row)
    assert groups == {"male": 240, "female": 240, "neutral": 240, "gotcha_male": 120, "gotcha_female": 120}


def test_race_asks_each_articles_questions_in_turn() -> None:
    asked = in_sequence(benchmarks.load("race", str(FOLDER), "high")["test"])
    assert sum(not earlier for earlier in asked["earlier"]) == 1045  # articles
