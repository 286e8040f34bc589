"""Progress of a run: a bar on a terminal, a line now and then elsewhere (a log file, CI, DVC)."""

import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.callbacks.progress.rich_progress import RichProgressBarTheme
from rich.console import Console

from llamalab.common.console import progress_console
from llamalab.training.cadence import Cadence

LINE_EVERY_S = 10.0


def progress_callbacks(kind: str, title: str, cadence: Cadence) -> list[L.Callback]:
    """The callbacks for `trainer.progress`: auto, bar, lines or none."""
    if kind == "none":
        return []
    bar = kind == "bar" or (kind == "auto" and progress_console.is_terminal)
    return [Bar(cadence)] if bar else [Lines(title, cadence)]


def figures(cadence: Cadence) -> dict[str, str]:
    """What both kinds show beside the step count."""
    counters = cadence.counters
    shown = {"loss": f"{counters.train_loss:.3f}", "tok/s": f"{cadence.tokens_per_second:,.0f}"}
    if counters.validation is not None:
        shown["val"] = f"{counters.validation['loss']:.3f}"
    return shown


class Bar(RichProgressBar):
    """Lightning's rich bar with loss, tokens per second and validation loss; it has the time left already."""

    def __init__(self, cadence: Cadence) -> None:
        super().__init__(theme=RichProgressBarTheme(metrics_format=".3f"), console_kwargs={"stderr": True})
        self.cadence = cadence

    def get_metrics(self, *_: Any) -> dict[str, int | str | float | dict[str, float]]:
        """The figures at the end of the bar."""
        return dict(figures(self.cadence))


class Lines(L.Callback):
    """Prints step, loss, speed and time left every some seconds."""

    def __init__(self, title: str, cadence: Cadence, console: Console = progress_console) -> None:
        self.title, self.cadence, self.console = title, cadence, console
        self._next = 0.0
        self._started = 0.0
        self._first_step = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts the clock."""
        self._started = time.monotonic()
        self._next = self._started + LINE_EVERY_S
        self._first_step = trainer.global_step

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Prints when it is time."""
        now = time.monotonic()
        total, step = self.cadence.plan.total, trainer.global_step
        if now < self._next and step != total:
            return
        self._next = now + LINE_EVERY_S
        done = step - self._first_step
        left = (now - self._started) / done * (total - step) if done else float("inf")
        parts = " ".join(f"{key} {value}" for key, value in figures(self.cadence).items())
        if trainer.is_global_zero:
            self.console.print(
                f"{self.title}  step {step}/{total}  {parts}  {left:.0f}s left", highlight=False, soft_wrap=True
            )
