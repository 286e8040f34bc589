"""Reading what the data room holds out, and saying what is wrong with it."""

from pathlib import Path

import pytest
import zstandard
from evaluation_builders import documents, write_documents

from llamalab.common.errors import UserError
from llamalab.evaluation.documents import domain_files, read_documents


def test_documents_come_sorted_whatever_the_order_of_the_file(tmp_path: Path) -> None:
    rows = documents("prose", 12, 5)
    write_documents(tmp_path / "prose.jsonl.zst", rows)
    write_documents(tmp_path / "again.jsonl.zst", rows[::-1])
    assert list(domain_files(tmp_path)) == ["again", "prose"]
    read = read_documents(tmp_path / "prose.jsonl.zst")
    assert {(document.id, document.text) for document in read} == {(row["id"], row["text"]) for row in rows}
    assert read == read_documents(tmp_path / "again.jsonl.zst")


def test_a_folder_without_documents_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no held-out documents.*llamalab data"):
        domain_files(tmp_path / "absent")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zstandard.compress(b""), "holds no text"),
        (zstandard.compress(b'{"id": "a", "text": " "}\n'), "holds no text"),
        (zstandard.compress(b'{"id": "a", "text": "b"}\n{"id": "a"}\n'), "line 2 is not a document"),
        (zstandard.compress(b"not json\n"), "line 1 is not a document"),
        (b"not zstandard", "line 1 is not a document"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "books.jsonl.zst").write_bytes(content)
    with pytest.raises(UserError, match=rf"books\.jsonl\.zst: .*{message}"):
        read_documents(tmp_path / "books.jsonl.zst")
