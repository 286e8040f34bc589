"""One progress bar for long work, on stderr."""

import contextlib
from collections.abc import Callable, Iterator

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from llamalab.common.console import progress_console


@contextlib.contextmanager
def progress(description: str, total: int, shown: bool = True) -> Iterator[Callable[[int], None]]:
    """Shows a bar while the block runs; the block calls what it is given with the amount of work finished.

    Args:
        description: what is being done.
        total: all the work, in whatever unit makes a step's time even, so that the time left is right.
        shown: false where another process shows it.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=progress_console, disable=not shown) as bar:
        task = bar.add_task(description, total=total)
        yield lambda steps: bar.advance(task, steps)
