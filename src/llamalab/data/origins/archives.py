"""Reading members of tar and zip archives without ever writing one to the disk.

Nothing is extracted, so no member can land outside a folder; members whose names try (absolute, `..`) refuse the
whole archive, since an honest package has none. Sizes are limited against archives made to exhaust the memory.
"""

import fnmatch
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from llamalab.common.errors import UserError
from llamalab.data.source import Record

LARGEST_MEMBER = 256 * 2**20
LARGEST_TOTAL = 8 * 2**30
TAR_ENDINGS = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar")
ZIP_ENDINGS = (".zip", ".whl")


def is_wanted(name: str, include: list[str], exclude: list[str]) -> bool:
    """Whether a member matches one of the glob patterns `include` and none of `exclude` (`*` crosses slashes)."""
    return any(fnmatch.fnmatchcase(name, glob) for glob in include) and not any(
        fnmatch.fnmatchcase(name, glob) for glob in exclude
    )


def read_archive(archive: Path, include: list[str], exclude: list[str]) -> Iterator[Record]:
    """The wanted regular files of an archive, sorted by name.

    Raises:
        UserError: not an archive of a known kind, damaged, unsafe names, or sizes beyond the limits.
    """
    try:
        if archive.name.endswith(TAR_ENDINGS):
            yield from _read_tar(archive, include, exclude)
        elif archive.name.endswith(ZIP_ENDINGS):
            yield from _read_zip(archive, include, exclude)
        else:
            raise UserError(f"{archive}: not a tar, zip or wheel; give one of {', '.join(TAR_ENDINGS + ZIP_ENDINGS)}")
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise UserError(f"{archive}: the archive cannot be read ({error}); delete it and fetch it again") from None


def _check(archive: Path, name: str, size: int) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        raise UserError(f"{archive}: unsafe member name '{name}'; the archive is refused")
    if size > LARGEST_MEMBER:
        raise UserError(f"{archive}: member '{name}' has {size:,} bytes, more than {LARGEST_MEMBER:,}; exclude it")


class _Budget:
    """Counts what an archive has given so far."""

    def __init__(self, archive: Path) -> None:
        self.archive, self.total = archive, 0

    def take(self, size: int) -> None:
        self.total += size
        if self.total > LARGEST_TOTAL:
            raise UserError(
                f"{self.archive}: the wanted members have more than {LARGEST_TOTAL:,} bytes; narrow include"
            )


def _read_tar(archive: Path, include: list[str], exclude: list[str]) -> Iterator[Record]:
    budget = _Budget(archive)
    with tarfile.open(archive) as tar:
        wanted = []
        for member in tar:  # one pass that names everything; a compressed tar has no directory
            _check(archive, member.name, member.size if member.isreg() else 0)
            if member.isreg() and is_wanted(member.name, include, exclude):
                file = tar.extractfile(member)
                assert file is not None
                budget.take(member.size)
                wanted.append(Record(member.name, file.read()))
    yield from sorted(wanted, key=lambda record: record.name)


def _read_zip(archive: Path, include: list[str], exclude: list[str]) -> Iterator[Record]:
    budget = _Budget(archive)
    with zipfile.ZipFile(archive) as zipped:
        for info in sorted(zipped.infolist(), key=lambda info: info.filename):
            if info.is_dir() or not is_wanted(info.filename, include, exclude):
                _check(archive, info.filename, 0)
                continue
            _check(archive, info.filename, info.file_size)
            budget.take(info.file_size)
            with zipped.open(info) as member:
                data = member.read(LARGEST_MEMBER + 1)
            yield Record(info.filename, data)
