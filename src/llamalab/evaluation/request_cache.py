"""Answers on disk as they come, so that an interrupted evaluation goes on where it was."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from llamalab.common.errors import UserError
from llamalab.common.files import disk_errors, hash_of

FILES = "rank*.jsonl"


class RequestCache:
    """Answers by checkpoint, task version and request, in one JSON Lines file per rank.

    A line holds the task, the key and the answer. A line that a kill cut short is passed over, and what is asked again
    is written again. Files of all ranks are read, so the number of ranks may change in between.

    Args:
        folder: for the files; made when the first answer comes.
        subject: a hash that changes with anything but the task that can change an answer: weights, architecture,
            tokenizer, precision.
        versions: per task name whatever changes when its requests mean something else, such as the hash of its file.
        rank: whose file is written.

    Raises:
        UserError: a file cannot be read or is no text.
    """

    def __init__(self, folder: Path, subject: str, versions: Mapping[str, str], rank: int = 0) -> None:
        self.folder = folder
        self.subject = subject
        self.versions = versions
        self.path = folder / FILES.replace("*", str(rank))
        self.answers: dict[str, Any] = {}
        for path in sorted(folder.glob(FILES)):
            self._read(path)

    def _read(self, path: Path) -> None:
        try:
            with path.open(encoding="utf-8") as lines:
                for line in lines:
                    try:
                        entry = json.loads(line)
                        self.answers[entry["key"]] = entry["answer"]
                    except (ValueError, KeyError, TypeError):
                        continue  # cut short by a kill
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: cannot be read ({error}); delete it, its requests are then asked again") from None

    def key(self, task: str | None, question: str) -> str:
        """The key of a question of a task.

        Raises:
            UserError: the task has no version.
        """
        name = task or ""
        if name not in self.versions:
            raise UserError(
                f"{name}: has no version, so its answers cannot be kept apart; give it one in the task file"
            )
        return hash_of([self.subject, name, self.versions[name], question])

    def add(self, tasks: Iterable[str | None], question: str, answer: Any) -> None:
        """Keeps the answer to a question that these tasks ask."""
        lines = ""
        for task in tasks:
            key = self.key(task, question)
            self.answers[key] = answer
            lines += json.dumps({"task": task, "key": key, "answer": answer}) + "\n"
        with disk_errors(self.path):
            if not self.folder.is_dir():
                self.folder.mkdir(parents=True)
            with self.path.open("a+b") as file:
                if file.tell() and not _ends_in_newline(file):
                    lines = "\n" + lines
                file.write(lines.encode())

    def remove(self) -> None:
        """Deletes all files, for when the scores themselves are written."""
        for path in self.folder.glob(FILES):
            path.unlink()
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()


def _ends_in_newline(file: Any) -> bool:
    file.seek(-1, os.SEEK_END)
    return bool(file.read(1) == b"\n")
