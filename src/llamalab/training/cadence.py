"""What happens after an optimizer step, in one fixed order: measure, judge, log, validate, evaluate, save, stop.

The order matters for exact resume: a checkpoint is written after the validation and the evaluation of its step, so the
rows in metrics.jsonl up to a checkpoint's step are complete, and a resumed run only has to drop the rows after it.
"""

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import lightning as L
import torch

from llamalab.checkpoint import native
from llamalab.common.files import write_json
from llamalab.training.evaluate import Evaluation
from llamalab.training.interrupt import Interrupted, StopRequest
from llamalab.training.memory_peak import PeakMemory
from llamalab.training.module import LlamaModule
from llamalab.training.validation import as_row

# The final validation by document: how far a result hangs on which documents were held out.
DOCUMENTS_FILE = "validation_documents.json"


class DivergedError(Exception):
    """The run's loss is lost; recorded as an outcome, not an error."""

    def __init__(self, step: int, reason: str) -> None:
        super().__init__(f"diverged at step {step}: {reason}")
        self.step, self.reason = step, reason


@dataclass
class Counters:
    """Figures that survive a restart (kept in the checkpoint).

    seconds: time spent in optimizer steps, without validation and checkpoints; steps: the steps it was spent on;
    wall_seconds: with validation and checkpoints; cpu_seconds: processor time of the optimizer steps, over all of
    the process' threads, which other work on the machine does not lengthen.
    The window is what happened since the last logged row: a run stopped in the middle of one goes on with it, so
    its rows are the same as those of a run that was never stopped.
    """

    seconds: float = 0.0
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    steps: int = 0
    train_loss: float = math.nan
    peak_memory_bytes: int = 0
    validation: dict[str, Any] | None = None
    window_losses: list[float] = field(default_factory=list)
    window_grad_norms: list[float] = field(default_factory=list)
    window_seconds: float = 0.0


@dataclass(frozen=True)
class Plan:
    """When things happen, in optimizer steps."""

    total: int
    log_every: int
    validate_every: int
    checkpoint_every: int
    keep_checkpoints: int
    batch_tokens: int
    warmup: int


class Cadence(L.Callback):
    """Runs the order above at every optimizer step.

    Args:
        plan: when.
        run_dir: where checkpoints go.
        loss_limit: a logged training loss above this (nats/token) after warmup is divergence.
        flops_per_token: of forward and backward.
        peak_flops: of all devices together, FLOP/s.
        stop: whether somebody asked to stop.
        evaluation: benchmark scores on the way, if they are wanted.
    """

    def __init__(
        self,
        plan: Plan,
        run_dir: Path,
        loss_limit: float,
        flops_per_token: int,
        peak_flops: float,
        stop: StopRequest,
        evaluation: Evaluation | None,
    ) -> None:
        self.plan, self.run_dir, self.loss_limit = plan, run_dir, loss_limit
        self.flops_per_token, self.peak_flops = flops_per_token, peak_flops
        self.stop = stop
        self.evaluation = evaluation
        self.counters = Counters()
        self.memory = PeakMemory()
        self._last_step = 0
        self._clock = self._wall_clock = self._cpu_clock = 0.0

    def state_dict(self) -> dict[str, Any]:
        """The counters, for the checkpoint."""
        return dict(vars(self.counters))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The counters, from the checkpoint."""
        self.counters = Counters(**state_dict)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Adds the tokens seen, for the checkpoint's meta.json."""
        checkpoint["tokens"] = trainer.global_step * self.plan.batch_tokens

    @property
    def tokens_per_second(self) -> float:
        """Mean over the run: tokens of the timed steps over the seconds they took."""
        return self.counters.steps * self.plan.batch_tokens / self.counters.seconds if self.counters.seconds else 0.0

    def mfu(self, tokens_per_second: float) -> float:
        """Model FLOP utilisation: FLOP per token (forward and backward) x tokens per second / peak FLOP per second."""
        return self.flops_per_token * tokens_per_second / self.peak_flops

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts the clock where the checkpoint left the counters, and listens for requests to stop."""
        self.stop.install()
        self._last_step = trainer.global_step
        self.memory.start(trainer.strategy.root_device)
        self._clock = self._wall_clock = time.perf_counter()
        self._cpu_clock = time.process_time()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Acts once per optimizer step (several micro-batches make one)."""
        step = trainer.global_step
        if step == self._last_step:
            return
        self._last_step = step
        assert isinstance(pl_module, LlamaModule)
        plan = self.plan
        last = step == plan.total
        log = last or step % plan.log_every == 0
        validate = last or step % plan.validate_every == 0
        save = last or step % plan.checkpoint_every == 0
        stop = self.stop.agreed(trainer.strategy)
        evaluate = self.evaluation is not None and (last or self.evaluation.due(step))
        if not (log or validate or evaluate or save or stop):
            return
        self._close_window(trainer, pl_module)
        self._advance_wall_clock()
        # a window is not judged earlier for an evaluation: that decides nothing about a run
        if log or validate or save or stop:
            self._judge(step)
        if log:
            self._log(trainer, pl_module, step)
        if validate:
            self._validate(trainer, pl_module, step)
        if evaluate:
            self._evaluate(trainer, pl_module, step)
        if save or stop:
            self._advance_wall_clock()
            self._save(trainer, step)
        if stop and not last:
            raise Interrupted(step)
        self._advance_wall_clock()
        self._clock = time.perf_counter()
        self._cpu_clock = time.process_time()

    def _advance_wall_clock(self) -> None:
        now = time.perf_counter()
        self.counters.wall_seconds += now - self._wall_clock
        self._wall_clock = now

    def _close_window(self, trainer: L.Trainer, module: LlamaModule) -> None:
        """Moves what the module gathered on the device into the counters; this waits for the device."""
        norms = torch.stack([norm.float() for norm in module.window_grad_norms])
        # one loss per step, whatever the number of micro-batches: a resumed run may have another
        per_step = torch.stack(module.window_losses).view(len(norms), -1).mean(dim=1)
        losses = trainer.strategy.reduce(per_step, reduce_op="mean")
        module.window_losses.clear()
        module.window_grad_norms.clear()
        counters = self.counters
        counters.window_losses += cast(torch.Tensor, losses).tolist()
        counters.window_grad_norms += norms.tolist()
        elapsed = time.perf_counter() - self._clock
        counters.window_seconds += elapsed
        counters.seconds += elapsed
        counters.cpu_seconds += time.process_time() - self._cpu_clock
        counters.steps += len(norms)
        counters.peak_memory_bytes = max(counters.peak_memory_bytes, self.memory.read())

    def _judge(self, step: int) -> None:
        """Raises DivergedError if the window holds a loss that training does not come back from."""
        norms, losses = self.counters.window_grad_norms, self.counters.window_losses
        first = step - len(norms) + 1
        for index, figures in enumerate(zip(losses, norms, strict=True)):
            if not all(map(math.isfinite, figures)):
                raise DivergedError(first + index, "the loss or its gradient is not finite")
        mean = math.fsum(losses) / len(losses)
        if step > self.plan.warmup and mean > self.loss_limit:
            raise DivergedError(step, f"training loss {mean:.3f} is above {self.loss_limit:.3f} after warmup")

    def _log(self, trainer: L.Trainer, module: LlamaModule, step: int) -> None:
        """Writes the row of the window: mean loss, largest gradient norm (before clipping), speed; then empties it."""
        counters = self.counters
        counters.train_loss = math.fsum(counters.window_losses) / len(counters.window_losses)
        speed = len(counters.window_grad_norms) * self.plan.batch_tokens / counters.window_seconds
        row = {
            "train/loss": counters.train_loss,
            "train/lr": module.schedule(step - 1) * module.build_optimizer.lr,
            "train/grad_norm": max(counters.window_grad_norms),
            "train/tokens_per_second": speed,
            "train/mfu": self.mfu(speed),
        }
        counters.window_losses, counters.window_grad_norms, counters.window_seconds = [], [], 0.0
        self._write(trainer, step, row)

    def _validate(self, trainer: L.Trainer, module: LlamaModule, step: int) -> None:
        # Lightning's own way of validating inside an epoch (TrainingEpochLoop.on_advance_end)
        connector = trainer._logger_connector
        first_iteration = connector._first_loop_iter
        trainer.validating = True
        trainer.fit_loop.epoch_loop.val_loop.run()
        trainer.training = True
        connector._first_loop_iter = first_iteration
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if step == self.plan.total:
            documents = module.sums.documents(data.domains, trainer.strategy)
            if trainer.is_global_zero:
                write_json(self.run_dir / DOCUMENTS_FILE, documents)
        self.counters.validation = module.sums.result(data.domains, data.proportions, trainer.strategy)
        self._write(trainer, step, as_row(self.counters.validation))

    def _evaluate(self, trainer: L.Trainer, module: LlamaModule, step: int) -> None:
        assert self.evaluation is not None
        row = self.evaluation.row(trainer, module.model)
        if row:
            self._write(trainer, step, row)

    def _write(self, trainer: L.Trainer, step: int, row: dict[str, float]) -> None:
        facts = {"step": step, "tokens": step * self.plan.batch_tokens, "seconds": round(self.counters.seconds, 3)}
        for logger in trainer.loggers:
            logger.log_metrics({**facts, **row}, step)

    def _save(self, trainer: L.Trainer, step: int) -> None:
        target = native.step_directory(self.run_dir, step)
        trainer.save_checkpoint(target)
        trainer.strategy.barrier("checkpoint")
        if trainer.is_global_zero:
            for old in native.checkpoints(self.run_dir)[: -self.plan.keep_checkpoints]:
                trainer.strategy.remove_checkpoint(old)
