"""An ordered map over all cores that never reads more than a little ahead."""

import itertools
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

In = TypeVar("In")
Out = TypeVar("Out")

# Chunks in flight per process: enough that none waits, few enough that a large corpus is not read into memory.
IN_FLIGHT = 3


def batched(items: Iterable[In], size: int) -> Iterator[tuple[In, ...]]:
    """Consecutive groups of `size` items, the last one shorter (itertools.batched, which Python 3.11 lacks)."""
    iterator = iter(items)
    while group := tuple(itertools.islice(iterator, size)):
        yield group


def _prepare() -> None:
    """Ctrl-C is the parent's to handle, and a parent that was killed takes its workers along."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _apply(function: Callable[[In], Out], chunk: tuple[In, ...]) -> list[Out]:
    return [function(item) for item in chunk]


class Workers:
    """Processes that are started on first use and end with the `with` block.

    Args:
        count: how many; None for one per core that this process may use. One means this process itself.
    """

    def __init__(self, count: int | None) -> None:
        self.count = count or len(os.sched_getaffinity(0))
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def map(self, function: Callable[[In], Out], items: Iterable[In], chunk: int = 16) -> Iterator[Out]:
        """The results in the order of `items`. `function` must be importable or a picklable object."""
        if self.count == 1:
            yield from map(function, items)
            return
        if self._pool is None:
            # Spawned, not forked: this process has threads (the progress display) and libraries that hold locks.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.count, mp_context=context, initializer=_prepare)
        waiting: deque[Future[list[Out]]] = deque()
        for part in batched(items, chunk):
            waiting.append(self._pool.submit(_apply, function, part))
            if len(waiting) >= self.count * IN_FLIGHT:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
