"""The audit on the page: what `llamalab data` left, with epochs at the runs' own budget."""

import pytest
from report_builders import TOKENS

from llamalab.analysis.audit import dropped_text, find_audits
from llamalab.analysis.records import read_study
from llamalab.common.errors import UserError


def test_epochs_are_for_the_runs_own_budget(study_folder, tmp_path):
    study = read_study(study_folder / "study.json")
    for run in study.runs:
        run.config["scale"]["tokens"] = 10 * TOKENS
    (audit,) = find_audits(tmp_path / "artifacts", study.runs)
    row = audit.table.rows[0]
    assert row["epochs"] == pytest.approx(0.25 * 10 * TOKENS / row["tokens"])
    assert f"{10 * TOKENS / 1e6:.1f} M tokens" in audit.table.caption


def test_empty_slots_and_notes_are_shown(study_folder, tmp_path):
    (audit,) = find_audits(tmp_path / "artifacts", read_study(study_folder / "study.json").runs)
    assert [row["source"] for row in audit.table.rows][-1] == "stackexchange"
    assert audit.notes == [
        "books: small, so it is read more than once",
        "stackexchange is empty: no package carries a dump",
    ]


def test_no_audit_is_no_error(study_folder, tmp_path):
    assert find_audits(tmp_path / "elsewhere", read_study(study_folder / "study.json").runs) == []


def test_a_broken_audit_names_its_file(study_folder, tmp_path):
    path = tmp_path / "artifacts/embedded/bpe4096/audit.json"
    path.write_text("{}")
    with pytest.raises(UserError, match=r"audit\.json: has no 'sources'"):
        find_audits(tmp_path / "artifacts", read_study(study_folder / "study.json").runs)


def test_dropped_text_counts_documents_before_bytes():
    rules = {"exact_duplicate": (12, 900), "near duplicate": (1, 5), "repeated lines": (0, 99_000), "unused": (0, 0)}
    sizes = {rule: {"documents": documents, "bytes": size} for rule, (documents, size) in rules.items()}
    text = "exact duplicate: 12 documents; near duplicate: 1 document; repeated lines: 99 kB of text"
    assert dropped_text(sizes) == text
    assert dropped_text({}) == "nothing"
