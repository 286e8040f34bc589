import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from llamalab.common.errors import UserError
from llamalab.data.origins import archives
from llamalab.data.origins.archives import read_archive


def make_tar(path: Path, members: dict[str, bytes], **special: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for info in special.values():
            tar.addfile(info)
    return path


def make_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, data in members.items():
            zipped.writestr(name, data)
    return path


def link(name: str, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    return info


MEMBERS = {"p-1/z.txt": b"last", "p-1/docs/a.txt": b"first", "p-1/docs/b.py": b"code", "p-1/docs/skip.txt": b"no"}


@pytest.mark.parametrize("name", ["p.tar.gz", "p.whl"])
def test_wanted_members_come_sorted(tmp_path: Path, name: str) -> None:
    make = make_tar if name.endswith(".tar.gz") else make_zip
    archive = make(tmp_path / name, MEMBERS)
    records = list(read_archive(archive, ["*.txt"], ["*/skip.*"]))
    assert [(record.name, record.data) for record in records] == [("p-1/docs/a.txt", b"first"), ("p-1/z.txt", b"last")]
    assert [path.name for path in tmp_path.iterdir()] == [name]  # nothing is written


@pytest.mark.parametrize("name", ["../evil.txt", "/etc/evil.txt", "a/../../evil.txt", "..\\evil.txt"])
@pytest.mark.parametrize("kind", ["p.tar.gz", "p.zip"])
def test_members_that_point_outside_refuse_the_archive(tmp_path: Path, kind: str, name: str) -> None:
    make = make_tar if kind.endswith(".tar.gz") else make_zip
    archive = make(tmp_path / kind, {"good.txt": b"x", name: b"y"})
    with pytest.raises(UserError, match="unsafe member name"):
        list(read_archive(archive, ["*"], []))


def test_links_are_not_followed(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "p.tar.gz", {"a.txt": b"x"}, link=link("b.txt", "/etc/passwd"))
    assert [record.name for record in read_archive(archive, ["*"], [])] == ["a.txt"]


@pytest.mark.parametrize("name", ["p.tar.gz", "p.zip"])
def test_sizes_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    make = make_tar if name.endswith(".tar.gz") else make_zip
    archive = make(tmp_path / name, {"a.txt": b"0" * 600, "b.txt": b"0" * 600})
    monkeypatch.setattr(archives, "LARGEST_TOTAL", 1000)
    with pytest.raises(UserError, match="the wanted members have more than 1,000 bytes"):
        list(read_archive(archive, ["*"], []))
    monkeypatch.setattr(archives, "LARGEST_MEMBER", 500)
    with pytest.raises(UserError, match=r"member 'a\.txt' has 600 bytes"):
        list(read_archive(archive, ["*"], []))


@pytest.mark.parametrize("name", ["p.tar.gz", "p.zip"])
def test_damaged_archives_are_named(tmp_path: Path, name: str) -> None:
    make = make_tar if name.endswith(".tar.gz") else make_zip
    archive = make(tmp_path / name, {f"{i}.txt": bytes(range(256)) * 40 for i in range(20)})
    archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(UserError, match=rf"{name}: the archive cannot be read"):
        list(read_archive(archive, ["*"], []))


def test_other_files_are_no_archives(tmp_path: Path) -> None:
    (tmp_path / "p.rar").write_bytes(b"x")
    with pytest.raises(UserError, match="not a tar, zip or wheel"):
        list(read_archive(tmp_path / "p.rar", ["*"], []))
