"""The LightningModule: one training step, one validation step, and how the network is sharded and compiled."""

from collections.abc import Callable
from typing import Any, cast

import lightning as L
import torch
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from torch.optim.lr_scheduler import LambdaLR

from llamalab.training.optimizer import AdamW
from llamalab.training.schedule import WarmupCosine
from llamalab.training.validation import ValidationSums


class LlamaModule(L.LightningModule):
    """Trains a network that offers `loss(tokens, targets, reduction)`.

    Args:
        model: the network (see llamalab.model.llama.Llama).
        optimizer: builds the optimizer of a model.
        schedule: step -> fraction of the peak learning rate.
        clip_norm: largest global gradient norm.
        compile_model: compile the loss (one device) or each block (sharded).
    """

    def __init__(
        self, model: nn.Module, optimizer: AdamW, schedule: WarmupCosine, clip_norm: float, compile_model: bool
    ) -> None:
        super().__init__()
        self.model = model
        self.build_optimizer = optimizer
        self.schedule = schedule
        self.clip_norm = clip_norm
        self.compile_model = compile_model
        self.sums = ValidationSums()
        # Losses and gradient norms since the last logged row, still on the device: reading them would wait for it.
        self.window_losses: list[Tensor] = []
        self.window_grad_norms: list[Tensor] = []
        self._loss: Callable[..., Tensor] | None = None

    def configure_model(self) -> None:
        """Shards (under a strategy with a device mesh) and compiles; called once by every strategy."""
        if self._loss is not None:
            return
        model = cast(Any, self.model)
        sharded = self.device_mesh is not None
        if self.device_mesh is not None:
            mesh = self.device_mesh["data_parallel"]
            for block in model.layers:
                if self.compile_model:
                    block.compile()
                fully_shard(block, mesh=mesh)
            fully_shard(model, mesh=mesh)
            # FSDP gathers weights in forward(); training enters through loss()
            register_fsdp_forward_method(model, "loss")
            unsharded = [name for name, p in model.named_parameters() if not isinstance(p, DTensor)]
            # a parameter left out would train unsynchronised on each rank, without an error
            assert not unsharded, unsharded
        self._loss = torch.compile(model.loss) if self.compile_model and not sharded else model.loss

    def loss(self, tokens: Tensor, reduction: str) -> Tensor:
        """Next-token loss in nats of `tokens` (B T+1): a scalar for "mean", (B, T) for "none"."""
        assert self._loss is not None
        return self._loss(tokens[:, :-1], tokens[:, 1:], reduction=reduction)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Mean next-token loss of one micro-batch."""
        loss = self.loss(batch["tokens"], "mean")
        self.window_losses.append(loss.detach())
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int, dataloader_idx: int = 0) -> None:
        """Adds one batch of one domain to the running sums (one data loader is one domain)."""
        losses = self.loss(batch["tokens"], "none").double()  # B T
        self.sums.add(dataloader_idx, losses, batch)

    def configure_optimizers(self) -> Any:
        """AdamW under the schedule, stepped once per optimizer step."""
        optimizer = self.build_optimizer(self.model)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": LambdaLR(optimizer, self.schedule), "interval": "step"},
        }

    def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
        """Clips by the global norm (paper, section 2.3) and keeps the norm before clipping for the log."""
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm)
        self.window_grad_norms.append(norm.full_tensor() if isinstance(norm, DTensor) else norm)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds random states; nothing in training draws on them today, a variant with dropout would."""
        random = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            random["cuda"] = torch.cuda.get_rng_state()
        checkpoint["random"] = random
        checkpoint["accumulate"] = self.trainer.accumulate_grad_batches

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restores random states, and rewrites Lightning's batch counters for this run's number of micro-batches.

        A step is the same tokens on any number of ranks, but it takes another number of micro-batches. The loader's
        own place, counted in those, is left out: the data module has been told the step.
        """
        checkpoint["loops"]["fit_loop"]["state_dict"].pop("combined_loader", None)
        torch.set_rng_state(checkpoint["random"]["cpu"])
        if torch.cuda.is_available() and "cuda" in checkpoint["random"]:
            torch.cuda.set_rng_state(checkpoint["random"]["cuda"])
        batches = checkpoint["global_step"] * self.trainer.accumulate_grad_batches
        for part in checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"].values():
            if isinstance(part, dict):
                part.update(ready=batches, started=batches, processed=batches, completed=batches - 1)
