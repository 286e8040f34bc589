"""eval/reference: the figures agree with each other, with the paper's arithmetic and with the data sets' sizes."""

import gzip
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from llamalab.analysis import paper_curves
from llamalab.common.configs import repository_folder
from llamalab.common.errors import UserError
from llamalab.evaluation import reference

FOLDER = reference.folder()
LLAMA = ("llama_7b", "llama_13b", "llama_33b", "llama_65b")


def value(table: str, row: str, model: str) -> float:
    return reference.tables()[table].reference(row)[model]


def shared_data() -> Path:
    given = os.environ.get("LLAMALAB_SHARED_DATA")
    return Path(given) if given else repository_folder("eval").parent.parent / "shared" / "data"


def test_every_figure_names_a_known_source_and_model():
    sources = yaml.safe_load((FOLDER / "sources.yaml").read_text())
    count = 0
    for name, table in reference.tables().items():
        for figure in table.figures(name):
            count += 1
            assert figure.source
            assert set(figure.source) <= set(sources), figure
            assert figure.model in reference.models(), figure
            assert figure.verified is not ("memory" in figure.source), figure
            assert 0 <= figure.value <= 100, figure
        assert set(table.models) <= set(reference.models()), name
    assert count > 800
    for path in [*FOLDER.glob("figures/*.yaml"), *FOLDER.glob("lm_eval/*.yaml"), *FOLDER.glob("tables/*.yaml")]:
        content = yaml.safe_load(path.read_text())
        assert content["verified"] is not ("memory" in content["source"]), path
        assert set(content["source"]) <= set(sources), path


def test_every_table_of_the_paper_is_there():
    numbers = [yaml.safe_load(path.read_text())["number"] for path in (FOLDER / "tables").glob("*.yaml")]
    assert sorted(number for number in numbers if number) == list(range(1, 17))


def test_mmlu_averages_are_those_of_the_subjects_weighted_by_questions():
    table = reference.tables()["table_16_mmlu_subjects"]
    assert len(table.rows) == 57
    assert sum(row.documents or 0 for row in table.rows.values()) == 14042
    for area in ("humanities", "stem", "social_sciences", "other", "average"):
        rows = [row for row in table.rows.values() if area in ("average", row.averaged_with)]
        documents = sum(row.documents or 0 for row in rows)
        assert documents == reference.tables()["table_09_mmlu"].rows[area].documents
        for index, model in enumerate(table.models):
            mean = sum((row.documents or 0) * (row.values[index] or 0) for row in rows) / documents
            if model in LLAMA or model == "llama_i_65b":
                assert mean == pytest.approx(table.averages[area][index], abs=0.06), (area, model)
            if model in LLAMA:
                assert table.averages[area][index] == value("table_09_mmlu", area, model)


def test_averages_of_the_bias_tables_are_those_of_their_rows():
    crows = reference.tables()["table_12_crows_pairs"]
    kinds = [row for key, row in crows.rows.items() if key != "average"]
    assert sum(row.documents or 0 for row in kinds) == crows.rows["average"].documents == 1508
    for index in range(len(crows.models)):
        mean = sum((row.documents or 0) * (row.values[index] or 0) for row in kinds) / 1508
        assert mean == pytest.approx(crows.rows["average"].values[index], abs=0.06)
    for model in LLAMA:
        mean = sum(value("table_13_winogender", row, model) for row in ("her", "his", "their")) / 3
        assert mean == pytest.approx(value("table_13_winogender", "all", model), abs=0.06)


def test_figures_end_where_the_tables_are():
    """NaturalQuestions of the 65B is the paper's own contradiction (37.3 against 35.0)."""
    places = reference.places().tables
    for panel in paper_curves.panels():
        (table, row), *_ = [
            (table, row) for table, rows in places.items() for row, place in rows.items() if place.task == panel.task
        ]
        assert value(table, row, "chinchilla_70b") == panel.chinchilla
        for label, curve in panel.curves.items():
            end, printed = curve["value"].iloc[-1], value(table, row, f"llama_{label.lower()}")
            limit = 2.4 if (panel.label, label) == ("NaturalQuestions", "65B") else 1.0
            assert abs(end - printed) <= limit, (panel.label, label)
    for curve in paper_curves.training_loss().values():
        assert curve["value"].is_monotonic_decreasing
        assert curve["tokens"].iloc[-1] in (1.0e12, 1.4e12)


def test_every_place_is_a_row_and_every_row_of_a_scored_table_has_a_place():
    for name, rows in reference.places().tables.items():
        assert list(rows) == list(reference.tables()[name].rows), name
        for place in rows.values():
            assert place.mean_of is None or place.mean_of in reference.tables()
    # Table 10 is about instruction-tuned models, which nothing here scores
    assert set(reference.tables()) - set(reference.places().tables) == {"table_10_instruct_mmlu"}


def test_metrics_that_are_named_are_in_the_task_files():
    """A place without a metric takes the one that its task file calls the paper's."""
    files = {}
    for path in (repository_folder("eval") / "tasks").rglob("*.yaml"):
        lines = path.read_text().splitlines()
        files |= {line.removeprefix("task: ").strip(): path for line in lines if line.startswith("task: paper_")}
    places = {place.task: place for rows in reference.places().tables.values() for place in rows.values() if place.task}
    there = [name for name in files if name in places]
    assert len(there) > 60
    for name in there:
        text = files[name].read_text()
        if places[name].absent is None:
            metric = places[name].metric
            assert metric is None or metric in text, name


def lines(path: str) -> Callable[[Path], int]:
    return lambda folder: sum(1 for line in gzip.open(folder / path, "rt", encoding="utf-8") if line.strip())


@pytest.mark.parametrize(
    ("table", "row", "count"),
    [
        ("table_03_common_sense", "boolq", lines("boolq/dev.jsonl.gz")),
        ("table_03_common_sense", "piqa", lines("piqa/valid.jsonl.gz")),
        ("table_03_common_sense", "siqa", lines("siqa/dev.jsonl.gz")),
        ("table_03_common_sense", "hellaswag", lines("hellaswag/hellaswag_val.converted.jsonl.gz")),
        ("table_03_common_sense", "winogrande", lines("winogrande/dev.jsonl.gz")),
        ("table_03_common_sense", "arc_easy", lines("arc_easy/test.jsonl.gz")),
        ("table_03_common_sense", "arc_challenge", lines("arc_challenge/test.jsonl.gz")),
        ("table_03_common_sense", "openbookqa", lines("openbookqa/test.jsonl.gz")),
        ("table_04_natural_questions", "shots_0", lines("nq_open/NQ-open.dev.jsonl.gz")),
        ("table_07_math", "math", lines("math/test.jsonl.gz")),
        ("table_07_math", "gsm8k", lines("gsm8k/test.jsonl.gz")),
        ("table_08_code", "humaneval", lines("humaneval/HumanEval.jsonl.gz")),
    ],
)
def test_documents_are_those_of_the_public_sets(table, row, count):
    folder = shared_data() / "benchmarks"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    assert count(folder) == reference.tables()[table].rows[row].documents


def test_mmlu_documents_are_those_of_the_public_set():
    path = shared_data() / "benchmarks/mmlu.tar.gz"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    with tarfile.open(path) as archive:
        names = [member.name for member in archive.getmembers() if member.name.endswith("_test.csv")]
    subjects = {Path(name).name.removesuffix("_test.csv") for name in names}
    assert subjects == set(reference.tables()["table_16_mmlu_subjects"].rows)


def test_a_model_is_found_by_key_by_heading_and_by_size():
    assert reference.model_named("7B") == reference.model_named("llama_7b") == "llama_7b"
    assert reference.model_named("palm 540b") == "palm_540b"
    with pytest.raises(UserError, match=r"compare_with: no model 'PaLM 640B'.*did you mean 'PaLM 540B'"):
        reference.model_named("PaLM 640B")
    assert reference.model_of_size(6_738_415_616, 0.01) == "llama_7b"
    assert reference.model_of_size(6_700_000_000, 0.01) == "llama_7b"
    assert reference.model_of_size(6_600_000_000, 0.01) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [("verified: true", r"table\.yaml: verified: Field required"), ("models:", r"table\.yaml: models: Field required")],
)
def test_a_damaged_table_names_file_and_key(tmp_path, change, message):
    text = (FOLDER / "tables/table_06_race.yaml").read_text()
    kept = "\n".join(line for line in text.splitlines() if not line.startswith(change))
    (tmp_path / "table.yaml").write_text(kept)
    with pytest.raises(UserError, match=message):
        reference._checked(tmp_path / "table.yaml", reference.PaperTable)
