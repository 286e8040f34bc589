"""Rows of benchmark files in the common formats, plain, gzipped, or in a tar archive; errors name file and row.

A member of an archive is written `archive.tar.gz!path/in/it`.
"""

import csv
import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from llamalab.common.errors import UserError

Row = dict[str, Any]
MEMBER = "!"


def exists(path: Path) -> bool:
    """Whether there is such a file, or such a member in the archive."""
    archive, _, member = str(path).partition(MEMBER)
    return Path(archive).is_file() and (not member or member in _members(archive))


def hash_of_file(path: Path) -> str:
    """Hex sha256 of the file's (or the archive member's) bytes as they lie on the disk."""
    return hashlib.sha256(_stored(path)).hexdigest()


def text_of(path: Path) -> str:
    """The file's text, from UTF-8 (a byte order mark is dropped), decompressed if its name ends with .gz.

    Raises:
        UserError: unreadable, damaged, not UTF-8, or empty.
    """
    try:
        content = _stored(path)
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        text = content.decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); fetch it again") from None
    if not text.strip():
        raise UserError(f"{path}: is empty; fetch it again")
    return text


def lines_of(path: Path) -> list[str]:
    """The file's lines that are not blank."""
    return [line for line in text_of(path).splitlines() if line.strip()]


def jsonl(path: Path) -> list[Row]:
    """One JSON object a line."""
    rows = []
    # split at line feeds only: JSON strings may hold the other characters that splitlines() breaks at
    for number, line in enumerate(text_of(path).split("\n"), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise UserError(f"{path}, line {number}: not valid JSON ({error.msg}); fetch the file again") from None
            rows.append(_object(path, number, row))
    return rows


def json_list(path: Path) -> list[Row]:
    """A JSON list of objects."""
    try:
        rows = json.loads(text_of(path))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {error.lineno}: not valid JSON ({error.msg}); fetch the file again") from None
    if not isinstance(rows, list):
        raise UserError(f"{path}: holds no list of rows; fetch the file again")
    return [_object(path, number, row) for number, row in enumerate(rows, 1)]


def table(path: Path, columns: Iterable[str] | None = None, delimiter: str = ",") -> list[Row]:
    """Delimited rows as texts by column; `columns` for a file without a header."""
    reader = csv.reader(io.StringIO(text_of(path), newline=""), delimiter=delimiter, strict=delimiter == ",")
    rows: list[Row] = []
    names = list(columns) if columns is not None else None
    try:
        for cells in reader:
            if not cells:
                continue
            if names is None:
                names = cells
                continue
            if len(cells) != len(names):
                raise UserError(
                    f"{path}, row {len(rows) + 1}: has {len(cells)} fields where {len(names)} are needed; "
                    "fetch the file again"
                )
            rows.append(dict(zip(names, cells, strict=True)))
    except csv.Error as error:
        raise UserError(f"{path}, row {len(rows) + 1}: {error}; fetch the file again") from None
    return rows


def field(path: Path, number: int, row: Row, name: str, kind: type = str) -> Any:
    """`row[name]`, which must be there, of that type, and not empty.

    Args:
        path: the row's file, for the message.
        number: the row's, from 1.
    """
    value = row.get(name)
    if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool) or value in ("", []):
        found = "is missing" if value is None or value in ("", []) else f"is {value!r}, not a {kind.__name__}"
        raise UserError(f"{path}, row {number}: '{name}' {found}; mend the row or fetch the file again")
    return value


def label(path: Path, number: int, value: Any, choices: Iterable[Any]) -> int:
    """The position of `value` in `choices`. Raises UserError naming the row if it is none of them."""
    choices = list(choices)
    if value is None or value == "":
        raise UserError(f"{path}, row {number}: has no label; mend the row or fetch the file again")
    if value not in choices:
        raise UserError(
            f"{path}, row {number}: the label {value!r} is none of {', '.join(map(repr, choices))}; "
            "mend the row or fetch the file again"
        )
    return choices.index(value)


def _object(path: Path, number: int, row: Any) -> Row:
    if not isinstance(row, dict):
        raise UserError(f"{path}, row {number}: is no object; fetch the file again")
    return row


def _stored(path: Path) -> bytes:
    archive, _, member = str(path).partition(MEMBER)
    return _members(archive)[member] if member else path.read_bytes()


@lru_cache(maxsize=1)
def _members(archive: str) -> dict[str, bytes]:
    """All files of an archive, read once: a compressed one can only be read from its beginning."""
    try:
        with tarfile.open(archive) as file:
            found = {entry.name: file.extractfile(entry) for entry in file if entry.isfile()}
            return {name: content.read() for name, content in found.items() if content is not None}
    except (OSError, EOFError, tarfile.TarError) as error:
        raise UserError(f"{archive}: cannot be read ({error}); fetch it again") from None
