from collections.abc import Iterator
from pathlib import Path

import pytest

from llamalab.common.errors import UserError
from llamalab.data.documents import Document, read_documents, write_documents

DOCUMENTS = [Document("a", "naïve\ntext", "s", {"work": "w"}), Document("b", "", "s")]


def test_documents_come_back(tmp_path: Path) -> None:
    path = tmp_path / "new/s.jsonl.zst"
    write_documents(path, DOCUMENTS)
    assert list(read_documents(path)) == DOCUMENTS
    assert DOCUMENTS[0].bytes == 11
    again = tmp_path / "again.jsonl.zst"
    write_documents(again, DOCUMENTS)
    assert again.read_bytes() == path.read_bytes()


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl.zst"
    write_documents(path, DOCUMENTS)

    def failing() -> Iterator[Document]:
        yield DOCUMENTS[1]
        raise RuntimeError("cut off")

    with pytest.raises(RuntimeError, match="cut off"):
        write_documents(path, failing())
    assert list(read_documents(path)) == DOCUMENTS
    assert [file.name for file in tmp_path.iterdir()] == ["s.jsonl.zst"]


def test_bad_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.jsonl\.zst: no such file; run the earlier stages"):
        list(read_documents(tmp_path / "none.jsonl.zst"))
    path = tmp_path / "s.jsonl.zst"
    write_documents(path, [Document(str(i), str(i) * 5000, "s") for i in range(50)])
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(UserError, match=r"s\.jsonl\.zst: (not a file of documents|cut off)"):
        list(read_documents(path))
    path.write_bytes(b"no zstandard")
    with pytest.raises(UserError, match=r"s\.jsonl\.zst: not a file of documents"):
        list(read_documents(path))
