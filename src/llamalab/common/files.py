"""Files that are either whole or absent: write beside the target, fsync, rename."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llamalab.common.errors import UserError


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_of(value: Any) -> str:
    """Hex sha256 of a JSON-able value, independent of the order of its keys."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def fsync_path(path: Path) -> None:
    """Flush a file or a directory entry to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def disk_errors(target: Path) -> Iterator[None]:
    """Turns a full disk or a quota into a UserError that names the target."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"{target}: the disk is full; nothing already saved was touched. "
                "Free some space and repeat the command."
            ) from error
        raise


def write_text(path: Path, text: str) -> None:
    """Replaces `path` by `text` in UTF-8, atomically; creates the parent folders."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Replaces `path` by `content` atomically; creates the parent folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with disk_errors(path):
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        fsync_path(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Replaces `path` by `value` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """The JSON in `path`. Raises UserError if it is missing or is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid JSON ({error}); delete it and repeat the step that makes it") from None


@contextlib.contextmanager
def published_directory(target: Path) -> Iterator[Path]:
    """A temporary sibling folder that becomes `target` if the block succeeds.

    Every file is fsynced before the rename, so a crash leaves the old `target`, the new one, or (in the
    instant between two renames when an old one had to make place) none; never a mixture.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with disk_errors(target):
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
        try:
            yield temporary
            for path in sorted(temporary.rglob("*")):
                fsync_path(path)
            fsync_path(temporary)
            os.chmod(temporary, 0o755)
            if target.exists():
                old = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.old."))
                os.replace(target, old / target.name)
                os.replace(temporary, target)
                shutil.rmtree(old)
            else:
                os.replace(temporary, target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        fsync_path(target.parent)


def require_space(folder: Path, needed: int, what: str) -> None:
    """Raises UserError unless the disk of `folder` has `needed` bytes free."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise UserError(
            f"{folder}: {what} needs {needed / 2**20:,.0f} MiB but the disk has {free / 2**20:,.0f} MiB free; "
            "free some space or choose another folder"
        )
