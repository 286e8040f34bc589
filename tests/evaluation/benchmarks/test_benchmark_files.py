"""Reading benchmark files: what they hold, and one line for each way in which they can be wrong."""

import gzip
from pathlib import Path
from typing import Any

import pytest
import yaml
from benchmark_builders import EVAL, mmlu_csv, mmlu_tables, write_benchmarks, write_jsonl, write_mmlu, write_text

from llamalab.common.errors import UserError
from llamalab.evaluation import benchmarks
from llamalab.evaluation.benchmarks import files
from llamalab.evaluation.benchmarks.winogender import questions


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_benchmarks(tmp_path)


def load(folder: Path, dataset: str, subset: str | None = None) -> dict[str, list[dict[str, Any]]]:
    found = benchmarks.load(dataset, str(folder), subset, version=1.0, config_source="ignored")
    return {split: rows.to_list() for split, rows in found.items()}


def test_tables_keep_line_breaks_quotes_and_spaces(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(mmlu_csv([[' a "quoted"\nquestion', "1,000", " b ", "c", "d", "A"]]))
    (row,) = files.table(path, ["question", *"ABCD", "answer"])
    assert row == {"question": ' a "quoted"\nquestion', "A": "1,000", "B": " b ", "C": "c", "D": "d", "answer": "A"}


def test_json_lines_may_hold_unicode_line_breaks_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('\ufeff{"a": "x\u2028y\x85z"}\n\n{"a": "b"}\n', encoding="utf-8")
    assert files.jsonl(path) == [{"a": "x\u2028y\x85z"}, {"a": "b"}]


def test_every_dataset_file_names_a_reader_and_its_hub(folder: Path) -> None:
    paths = sorted((EVAL / "datasets").glob("*.yaml"))
    assert paths
    for path in paths:
        source = yaml.safe_load(path.read_text())
        assert "path" in source["hub"], path
        assert benchmarks.fingerprint(path.stem) == source["hub"]


def test_boolean_and_textual_answers_are_the_same(folder: Path) -> None:
    assert [row["label"] for row in load(folder, "boolq")["validation"]] == [1, 0]


def test_the_open_sentence_of_a_converted_context_is_found(folder: Path) -> None:
    first, second = load(folder, "hellaswag")["validation"]
    assert (first["ctx_a"], first["ctx_b"]) == ("Flour lies on a table.", "the baker")
    assert (second["ctx_a"], second["ctx_b"]) == ("How to sweep. Take a broom.", "")


def test_the_originals_context_is_taken_as_it_is(folder: Path) -> None:
    row = {"activity_label": "Home", "ctx_a": "Ada sat. no stop", "ctx_b": "she", "label": "1", "endings": ["a.", "b."]}
    write_jsonl(folder / "hellaswag/hellaswag_val.converted.jsonl.gz", [row])
    (found,) = load(folder, "hellaswag")["validation"]
    assert (found["ctx_a"], found["ctx_b"], found["label"]) == ("Ada sat. no stop", "she", "1")


def test_gotchas_are_the_four_cases_of_winogenders_authors(folder: Path) -> None:
    asked = questions(benchmarks.load("winogender", str(folder))["test"]).to_list()
    gotchas = {(row["options"][0], row["label"], row["pronoun"]) for row in asked if len(row["groups"]) == 2}
    assert gotchas == {
        ("the nurse", 0, "he"),
        ("the nurse", 1, "she"),
        ("the plumber", 0, "she"),
        ("the plumber", 1, "he"),
    }
    assert {row["options"][1] for row in asked} == {"the patient", "someone"}


def test_a_file_elsewhere_is_taken_instead(folder: Path, tmp_path: Path) -> None:
    write_text(tmp_path / "own.txt", "one\n \ntwo")
    found = benchmarks.load("wikitext", dataset_files={"wikitext": {"test": str(tmp_path / "own.txt")}})
    assert found["test"]["text"] == ["one\n", "", "two\n"]
    with pytest.raises(UserError, match=r"dataset_files\.wikitext\.tset: no such split; did you mean 'test'"):
        benchmarks.load("wikitext", dataset_files={"wikitext": {"tset": "x"}})
    with pytest.raises(UserError, match=r"dataset_files\.mmlu\.dev: missing; name its file or set benchmarks_dir"):
        benchmarks.load("mmlu", subset="anatomy", dataset_files={"mmlu": {"test": "x"}})


def test_the_fingerprint_changes_with_the_content_alone(folder: Path) -> None:
    before = benchmarks.fingerprint("piqa", str(folder), version=1.0)
    assert benchmarks.fingerprint("piqa", str(folder), version=2.0) == before
    write_text(folder / "piqa/valid-labels.lst", "1\n1\n")
    assert benchmarks.fingerprint("piqa", str(folder)) != before


def test_a_missing_file_is_a_missing_dataset(folder: Path) -> None:
    (folder / "piqa/valid-labels.lst").unlink()
    with pytest.raises(benchmarks.DatasetMissing, match=r"valid-labels\.lst: no such file in benchmarks_dir"):
        load(folder, "piqa")
    tables = {name: content for name, content in mmlu_tables().items() if "anatomy_dev" not in name}
    write_mmlu(folder / "other" / "mmlu.tar.gz", tables)
    with pytest.raises(benchmarks.DatasetMissing, match=r"mmlu\.tar\.gz!mmlu/dev/anatomy_dev\.csv: no such file"):
        load(folder / "other", "mmlu", "anatomy")


def test_the_hub_is_asked_without_a_folder_and_its_refusal_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(**arguments: Any) -> None:
        asked.append(arguments)
        raise ConnectionError("no route to the hub\nand more")

    monkeypatch.setattr("datasets.load_dataset", refuse)
    with pytest.raises(benchmarks.DatasetMissing, match="baber/piqa cannot be had from the hub") as error:
        benchmarks.load("piqa")
    assert asked == [{"path": "baber/piqa"}]
    assert "\n" not in str(error.value)
    assert "and more" not in str(error.value)


WINOGRANDE = "winogrande/dev.jsonl.gz"
CROWS = "crows_pairs/crows_pairs_anonymized.csv.gz"
ARC = {"query": "Question: q", "choices": ["a", "b"], "gold": 0}
RACE = {"article": "a", "questions": ["q"], "options": [["a", "b", "c", "d"]]}
QUESTION = {"sentence": "Ada saw _.", "option1": "Bo", "option2": "Cy", "answer": "1"}


@pytest.mark.parametrize(
    ("dataset", "file", "content", "message"),
    [
        ("winogrande", WINOGRANDE, "", r"dev\.jsonl\.gz: is empty"),
        ("winogrande", WINOGRANDE, "\n{broken\n", r"dev\.jsonl\.gz, line 2: not valid JSON"),
        ("winogrande", WINOGRANDE, "[1]\n", r"dev\.jsonl\.gz, row 1: is no object"),
        ("winogrande", WINOGRANDE, QUESTION | {"answer": ""}, r"row 1: has no label"),
        ("winogrande", WINOGRANDE, QUESTION | {"answer": "3"}, r"row 1: the label '3' is none of '1', '2'"),
        ("winogrande", WINOGRANDE, QUESTION | {"sentence": "Ada."}, r"row 1: 'sentence' has no '_'"),
        ("winogrande", WINOGRANDE, QUESTION | {"option2": None}, r"row 1: 'option2' is missing"),
        ("winogrande", WINOGRANDE, QUESTION | {"option2": 7}, r"row 1: 'option2' is 7, not a str"),
        ("boolq", "boolq/dev.jsonl.gz", {"question": "q", "passage": "p"}, r"row 1: has no label"),
        ("arc_easy", "arc_easy/test.jsonl.gz", ARC | {"gold": None}, r"row 1: has no label"),
        ("arc_easy", "arc_easy/test.jsonl.gz", ARC | {"choices": []}, r"'choices' is missing"),
        ("piqa", "piqa/valid-labels.lst", "0\n", r"valid-labels\.lst, row 2: 1 labels for the 2 rows of"),
        ("piqa", "piqa/valid-labels.lst", "0\n2\n", r"valid-labels\.lst, row 2: the label '2' is none of"),
        ("crows_pairs", CROWS, ",sent_more\n0,a,b\n", r"row 1: has 3 fields where 2"),
        ("crows_pairs", CROWS, ",sent_more,sent_less\n", r"has no rows for split"),
        ("winogender", "winogender/all_sentences.tsv", "sentid\tsentence\na.b.c\tx\n", r"sentid 'a\.b\.c' has no"),
        ("race", "race/test_middle.jsonl.gz", RACE, "row 1: 'answers' is missing"),
    ],
)  # fmt: skip
def test_damage_is_named_with_file_and_row(
    folder: Path, dataset: str, file: str, content: str | dict[str, Any], message: str
) -> None:
    if isinstance(content, dict):
        write_jsonl(folder / file, [content])
    else:
        write_text(folder / file, content)
    with pytest.raises(UserError, match=message) as error:
        load(folder, dataset, "middle")
    assert not isinstance(error.value, benchmarks.DatasetMissing)
    assert "\n" not in str(error.value)


def test_a_file_cut_short_is_named(folder: Path) -> None:
    path = folder / "boolq/dev.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"question": "q"}\n' * 100)[:-20])
    with pytest.raises(UserError, match=r"dev\.jsonl\.gz: cannot be read"):
        load(folder, "boolq")
    archive = folder / "mmlu.tar.gz"
    archive.write_bytes(archive.read_bytes()[:-300])
    files._members.cache_clear()
    with pytest.raises(UserError, match=r"mmlu\.tar\.gz: cannot be read"):
        load(folder, "mmlu", "anatomy")


def test_a_wrong_letter_in_the_archive_is_named(folder: Path) -> None:
    tables = mmlu_tables() | {"mmlu/test/anatomy_test.csv": mmlu_csv([["q", "1", "2", "3", "4", "E"]])}
    write_mmlu(folder / "mmlu.tar.gz", tables)
    files._members.cache_clear()
    with pytest.raises(UserError, match=r"anatomy_test\.csv, row 1: the label 'E' is none of 'A', 'B', 'C', 'D'"):
        load(folder, "mmlu", "anatomy")


def test_an_unknown_dataset_gets_the_nearest_name() -> None:
    with pytest.raises(UserError, match=r"no 'piqua' in .*did you mean 'piqa'"):
        benchmarks.load("piqua")
