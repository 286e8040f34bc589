"""Benchmark scores of the model that is being trained: `callbacks.evaluate`.

The training room knows no benchmark. What scores is a node of the config, as a study's probes are: a callable that
takes the model and returns figures. Here it is given the model as it stands in the loop, and everything that training
goes on with is put back: the mode and every random state. So a run with the callback has
the weights of one without, to the bit, and whether there is one is no part of what identifies a computation.
"""

import math
import warnings
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import lightning as L
import torch
from lightning.pytorch.strategies import Strategy
from lightning.pytorch.utilities.seed import isolate_rng
from omegaconf import DictConfig
from torch import nn

from llamalab.common.errors import UserError
from llamalab.training import launch
from llamalab.training.interrupt import distributed
from llamalab.training.strategies import FullyShard

PREFIX = "eval/"
PATIENCE = timedelta(days=7)  # of the ranks that wait for the first one's evaluation


class Evaluator(Protocol):
    """What `callbacks.evaluate` names."""

    every_tokens: int

    def prepare(self, config: dict[str, Any], tokenizer: Path) -> None:
        """Called once before training. Raises UserError for what cannot work, such as an unknown suite."""

    def __call__(self, model: nn.Module) -> tuple[dict[str, float], list[str]]:
        """Figures by name (`<task>/<metric>`), and one sentence for each thing that could not be scored."""


class Evaluation:
    """When the evaluator is called, and in which state.

    Args:
        evaluator: does the scoring.
        every: optimizer steps from one evaluation to the next; the last step is always one.
        precision: of the training; bf16-mixed evaluates under autocast too.
    """

    def __init__(self, evaluator: Evaluator, every: int, precision: str) -> None:
        self.evaluator, self.every, self.precision = evaluator, every, precision
        self._said: set[str] = set()

    def due(self, step: int) -> bool:
        """Whether the model is evaluated after this step, if it is not the last."""
        return step % self.every == 0

    def row(self, trainer: L.Trainer, model: nn.Module) -> dict[str, float]:
        """The finite figures with their prefix; none on other ranks than the first, which wait for it meanwhile.

        An evaluation that fails is one warning and no figures: weeks of training do not end for want of a benchmark.
        """
        figures: dict[str, float] = {}
        if trainer.is_global_zero:
            figures = self._evaluate(model, trainer.strategy.root_device)
        _wait_for_first_rank(trainer)
        return {PREFIX + name: value for name, value in figures.items() if math.isfinite(value)}

    def _evaluate(self, model: nn.Module, device: torch.device) -> dict[str, float]:
        was_training = model.training
        model.eval()
        try:
            with (
                isolate_rng(),
                torch.no_grad(),
                torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16-mixed"),
            ):
                figures, problems = self.evaluator(model)
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            figures, problems = {}, [f"failed ({reason})"]
        finally:
            model.train(was_training)
        for problem in problems:
            if problem not in self._said:
                self._said.add(problem)
                warnings.warn(f"callbacks.evaluate: {problem}; training goes on", stacklevel=2)
        return figures


def _wait_for_first_rank(trainer: L.Trainer) -> None:
    """A barrier without the process group's timeout, which a long evaluation would outlast."""
    if not distributed():
        return
    store = torch.distributed.distributed_c10d._get_default_store()
    key = f"llamalab/evaluated/{trainer.global_step}"
    if trainer.is_global_zero:
        store.set(key, "done")
    else:
        store.wait([key], PATIENCE)


def make_evaluation(
    cfg: DictConfig,
    config: dict[str, Any],
    build: Callable[[DictConfig], Any],
    strategy: Strategy,
    tokenizer: Path,
) -> Evaluation | None:
    """What `callbacks.evaluate` asks for, ready to be called; None where it asks for nothing.

    Raises:
        UserError: a bad value or suite, or weights that no rank holds whole.
    """
    if cfg.callbacks.evaluate is None:
        return None
    if isinstance(strategy, FullyShard):
        raise UserError(
            "callbacks.evaluate: no rank of a sharded run (strategy=fsdp2) holds all weights; use strategy=ddp or one "
            "device, or callbacks=none and llamalab eval on its checkpoints"
        )
    evaluator: Evaluator = build(cfg.callbacks.evaluate)
    if launch.rank() == 0:  # the only one that will call it
        with isolate_rng():
            evaluator.prepare(config, tokenizer)
    every = max(1, round(evaluator.every_tokens / cfg.scale.batch_tokens))
    return Evaluation(evaluator, every, cfg.trainer.precision)
