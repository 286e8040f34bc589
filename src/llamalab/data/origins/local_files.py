"""Text that is on the disk already: a folder of files, or JSONL documents, plain or compressed."""

import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import zstandard

from llamalab.common.errors import UserError
from llamalab.data.origins.archives import is_wanted
from llamalab.data.source import Record


def open_compressed(path: Path) -> BinaryIO:
    """A file's bytes, decompressed if its name ends in .zst or .gz."""
    if path.suffix == ".zst":
        return cast(BinaryIO, io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(path.open("rb"))))
    return cast(BinaryIO, gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


class LocalFiles:
    """Files below a folder.

    Args:
        folder: absolute, or relative to where the command is run.
        include: glob patterns of paths relative to the folder.
        exclude: glob patterns to leave out.
        lines: give every line of a file as a record of its own (JSONL), not the whole file.
        licence: of the text, as its owner declares it.
    """

    def __init__(self, folder: str, include: list[str], exclude: list[str], lines: bool, licence: str) -> None:
        self.folder, self.include, self.exclude = Path(folder), include, exclude
        self.lines, self.licence = lines, licence

    def fetch(self, raw: Path) -> list[Path]:
        """The files, where they are; `raw` is not used. Raises UserError if there are none."""
        if not self.folder.is_dir():
            raise UserError(f"{self.folder}: no such folder; correct `folder` of the source")
        paths = sorted(path for path in self.folder.rglob("*") if path.is_file() and self._wanted(path))
        if not paths:
            raise UserError(f"{self.folder}: no file matches {self.include}; correct `include` of the source")
        return paths

    def _wanted(self, path: Path) -> bool:
        return is_wanted(path.relative_to(self.folder).as_posix(), self.include, self.exclude)

    def records(self, raw: Path) -> Iterator[Record]:
        """One record a file, or one a line."""
        for path in self.fetch(raw):
            name = path.relative_to(self.folder).as_posix()
            try:
                with open_compressed(path) as file:
                    if self.lines:
                        for number, line in enumerate(file, start=1):
                            yield Record(f"{name}:{number}", line)
                    else:
                        yield Record(name, file.read())
            except (zstandard.ZstdError, gzip.BadGzipFile, EOFError) as error:
                raise UserError(f"{path}: cannot be decompressed ({error})") from None
