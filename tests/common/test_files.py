"""Files are whole or absent."""

import errno
import json
import os
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from llamalab.common import files
from llamalab.common.errors import UserError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_text_and_json_come_back(tmp_path):
    files.write_json(tmp_path / "a/b.json", {"größe": [1, 2.5, None]})
    assert files.read_json(tmp_path / "a/b.json") == {"größe": [1, 2.5, None]}
    assert (tmp_path / "a/b.json").read_text().startswith('{\n  "größe"')
    files.write_text(tmp_path / "a/b.json", "[]")
    assert files.read_json(tmp_path / "a/b.json") == []
    assert names(tmp_path / "a") == ["b.json"]
    assert (tmp_path / "a/b.json").stat().st_mode & 0o777 == 0o644


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    files.write_text(path, "old")
    for name, code in (("fsync", errno.ENOSPC), ("replace", errno.EDQUOT)):

        def full(*_: object, code: int = code) -> None:
            raise OSError(code, os.strerror(code))

        with monkeypatch.context() as patch:
            patch.setattr(os, name, full)
            with pytest.raises(UserError, match=r"a\.txt: the disk is full; nothing already saved was touched"):
                files.write_text(path, "new")
        assert path.read_text() == "old"
        assert names(tmp_path) == ["a.txt"]


def test_other_errors_of_the_disk_are_not_called_full(tmp_path):
    with pytest.raises(OSError, match="Input/output"), files.disk_errors(tmp_path):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize(
    ("content", "message"), [(None, "no such file"), (b"{", "not valid JSON"), (b'"\xff"', "not valid JSON")]
)
def test_unreadable_json_is_named(tmp_path, content, message):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        files.read_json(path)
    assert str(path) in str(error.value)


def test_a_directory_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "x/step=1"
    with files.published_directory(target) as folder:
        (folder / "a").write_text("1")
        (folder / "sub").mkdir()
        (folder / "sub/b").write_text("2")
        assert not target.exists()
        assert folder.parent == target.parent
    assert names(target) == ["a", "sub"]
    assert names(tmp_path / "x") == ["step=1"]
    assert target.stat().st_mode & 0o777 == 0o755


def test_a_failed_block_leaves_the_old_directory(tmp_path):
    target = tmp_path / "out"
    with files.published_directory(target) as folder:
        (folder / "a").write_text("old")

    def fail_halfway() -> None:
        with files.published_directory(target) as folder:
            (folder / "a").write_text("new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_halfway()
    assert (target / "a").read_text() == "old"
    assert names(tmp_path) == ["out"]


def test_a_directory_is_replaced(tmp_path):
    target = tmp_path / "out"
    for content in ("old", "new"):
        with files.published_directory(target) as folder:
            (folder / content).write_text(content)
    assert names(target) == ["new"]
    assert names(tmp_path) == ["out"]


def test_everything_is_on_the_disk_before_it_is_renamed(tmp_path, monkeypatch):
    done = []
    fsync, replace = files.fsync_path, os.replace
    monkeypatch.setattr(files, "fsync_path", lambda path: (done.append(Path(path).name), fsync(path)))
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append("renamed"), replace(a, b)))
    with files.published_directory(tmp_path / "out") as folder:
        (folder / "weights").write_text("w")
        (folder / "meta").write_text("m")
    assert set(done[: done.index("renamed")]) == {"weights", "meta", folder.name}
    assert done[-1] == tmp_path.name


def test_space_is_looked_for_where_the_folder_will_be(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    asked = []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: asked.append(path) or usage(0, 0, 5 * 2**20))
    files.require_space(tmp_path / "not/yet/there", 5 * 2**20, "saving")
    assert asked == [tmp_path]
    with pytest.raises(UserError, match=r"not/yet: saving needs 6 MiB but the disk has 5 MiB free; free some space"):
        files.require_space(tmp_path / "not/yet", 6 * 2**20, "saving")


def test_the_hash_of_a_value_knows_no_order_of_keys():
    assert files.hash_of({"a": 1, "b": [1.5, None]}) == files.hash_of({"b": [1.5, None], "a": 1})
    assert files.hash_of([1, 2]) != files.hash_of([2, 1])
    assert files.hash_of({"a": 1}) != files.hash_of({"a": "1"})


def test_the_hash_of_a_file(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert files.sha256_file(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_json_on_disk_is_strict(tmp_path):
    files.write_json(tmp_path / "a.json", {"a": 1})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": 1}
