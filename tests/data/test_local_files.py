import gzip
from pathlib import Path

import pytest
import zstandard

from llamalab.common.errors import UserError
from llamalab.data.origins.local_files import LocalFiles


def files(folder: Path, lines: bool = False, include: list[str] | None = None) -> LocalFiles:
    return LocalFiles(str(folder), include or ["*"], ["*.bak"], lines, "CC0")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    (tmp_path / "b.txt").write_bytes(b"one\ntwo\n")
    (tmp_path / "deep/a.txt.gz").write_bytes(gzip.compress(b"three\n"))
    (tmp_path / "deep/c.txt.zst").write_bytes(zstandard.compress(b"four\nfive"))
    (tmp_path / "d.bak").write_bytes(b"left out")
    return tmp_path


def test_whole_files_in_order(folder: Path) -> None:
    records = [(record.name, record.data) for record in files(folder).records(folder)]
    assert records == [("b.txt", b"one\ntwo\n"), ("deep/a.txt.gz", b"three\n"), ("deep/c.txt.zst", b"four\nfive")]


def test_a_record_a_line(folder: Path) -> None:
    records = list(files(folder, lines=True).records(folder))
    assert [record.data.strip() for record in records] == [b"one", b"two", b"three", b"four", b"five"]
    assert [record.name for record in records[:2]] == ["b.txt:1", "b.txt:2"]


def test_missing_input_is_named(folder: Path) -> None:
    with pytest.raises(UserError, match="nowhere: no such folder"):
        files(folder / "nowhere").fetch(folder)
    with pytest.raises(UserError, match=r"no file matches \['\*\.md'\]"):
        files(folder, include=["*.md"]).fetch(folder)


@pytest.mark.parametrize("name", ["x.gz", "x.zst"])
def test_damaged_files_are_named(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"not compressed at all")
    with pytest.raises(UserError, match=rf"{name}: cannot be decompressed"):
        list(files(folder, include=[name]).records(folder))
