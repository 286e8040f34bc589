"""Ctrl-C and SIGTERM: finish the step, save, and leave with the conventional exit code."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch
from lightning.pytorch.strategies import Strategy


class Interrupted(BaseException):
    """Training stopped on request; the newest checkpoint is that of `step` (None: whatever there is)."""

    def __init__(self, step: int | None) -> None:
        saved = "" if step is None else f"the state after step {step} is saved; "
        super().__init__(f"interrupted; {saved}the same command continues from the newest checkpoint")
        self.step = step


class StopRequest:
    """Remembers a signal until the end of the optimizer step."""

    def __init__(self) -> None:
        self.signal_number: int | None = None

    def __call__(self, signal_number: int, frame: FrameType | None) -> None:
        """The signal handler. A second Ctrl-C on a single process does not wait for the step."""
        if self.signal_number is not None and signal_number == signal.SIGINT and not distributed():
            raise Interrupted(None)  # Lightning would turn KeyboardInterrupt into exit code 1
        self.signal_number = signal_number

    def install(self) -> None:
        """Handles SIGINT and SIGTERM. Again once Lightning has put its own handler in front: that one starts a
        collective operation from inside the handler, which hangs several ranks."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handles SIGINT and SIGTERM inside the block."""
        previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        self.install()
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def agreed(self, strategy: Strategy) -> bool:
        """Whether any rank was asked to stop; every rank gets the same answer, so all stop after the same step."""
        if not distributed():
            return self.signal_number is not None
        flag = torch.tensor(float(self.signal_number is not None), device=strategy.root_device)
        torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
        return bool(flag)


def distributed() -> bool:
    """Whether this process is one of several ranks."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()
