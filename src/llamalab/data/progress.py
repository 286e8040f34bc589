"""Progress on stderr: a bar on a terminal, and one line per finished piece everywhere."""

from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self, TypeVar

from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)

from llamalab.common.console import progress_console

Item = TypeVar("Item")


def say(line: str) -> None:
    """One line on stderr, as it is."""
    progress_console.print(line, markup=False, highlight=False, soft_wrap=True)


def tracked(items: Iterable[Item], title: str, total: int | None = None) -> Iterator[Item]:
    """Passes `items` on while a bar counts them; the bar goes away at the end."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(
        *columns, console=progress_console, transient=True, disable=not progress_console.is_terminal
    ) as progress:
        yield from progress.track(items, description=title, total=total)


class Download:
    """pypi-simple's progress protocol, as a rich bar."""

    def __init__(self, title: str, size: int | None) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self.progress = Progress(
            *columns, console=progress_console, transient=True, disable=not progress_console.is_terminal
        )
        self.task = self.progress.add_task(title, total=size)

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def update(self, increment: int) -> None:
        self.progress.update(self.task, advance=increment)
