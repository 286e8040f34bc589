"""How several devices share a run. Every strategy saves the same checkpoint, so any can resume any other's."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, SingleDeviceStrategy, Strategy
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

if TYPE_CHECKING:
    # What the strategies below have in common with every Lightning strategy, for the type checker only.
    Base = Strategy
else:
    Base = object
FULL = StateDictOptions(full_state_dict=True, cpu_offload=True)


class NamedOptimizerState(Base):
    """Saves and loads optimizer state by parameter name, gathered on rank 0, whatever the sharding.

    Lightning's own states are keyed by position, which differs between sharded and unsharded parameter groups.
    """

    def optimizer_state(self, optimizer: torch.optim.Optimizer | LightningOptimizer) -> dict[str, Any]:
        """The full state on rank 0 (an empty one elsewhere)."""
        plain = optimizer._optimizer if isinstance(optimizer, LightningOptimizer) else optimizer
        assert self.lightning_module is not None
        return dict(get_optimizer_state_dict(self.lightning_module, plain, options=FULL))

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Takes the full state that every rank has read and keeps each rank's part."""
        assert self.lightning_module is not None
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            set_optimizer_state_dict(
                self.lightning_module, optimizer, state, options=StateDictOptions(full_state_dict=True)
            )


class SingleDevice(NamedOptimizerState, SingleDeviceStrategy):
    """One process, one device."""


class DataParallel(NamedOptimizerState, DDPStrategy):
    """Replicated weights, averaged gradients."""


class FullyShard(NamedOptimizerState, ModelParallelStrategy):
    """FSDP2: `fully_shard` on each block and the root, applied by the module's `configure_model`."""

    @property
    def lightning_restore_optimizer(self) -> bool:
        """True: the optimizer is restored from the full state, not inside `load_checkpoint`."""
        return True

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        """Every rank reads the same complete checkpoint."""
        return self.checkpoint_io.load_checkpoint(checkpoint_path, weights_only=weights_only)

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: Any = None) -> None:
        """The first rank writes what it has gathered, in place of an incomplete folder if there is one."""
        if self.is_global_zero:
            self.checkpoint_io.save_checkpoint(checkpoint, filepath)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Keeps each rank's part of the full weights."""
        assert self.lightning_module is not None
        options = StateDictOptions(full_state_dict=True, strict=strict)
        set_model_state_dict(self.lightning_module, dict(checkpoint["state_dict"]), options=options)


def single(device: torch.device, world_size: int) -> Strategy:
    """One device. Raises ValueError when several are asked for."""
    if world_size > 1:
        raise ValueError(f"trainer.devices: {world_size} devices need strategy=fsdp2 or strategy=ddp, not single")
    return SingleDevice(device=device)


def ddp(device: torch.device, world_size: int) -> Strategy:
    """Distributed data parallel over all ranks."""
    return DataParallel(find_unused_parameters=False, gradient_as_bucket_view=True)


def fsdp2(device: torch.device, world_size: int) -> Strategy:
    """Fully sharded over all ranks; the sizes are explicit because "auto" would mean one replica per node."""
    return FullyShard(data_parallel_size=world_size, tensor_parallel_size=1, save_distributed_checkpoint=False)


def automatic(device: torch.device, world_size: int) -> Strategy:
    """`single` for one device, `fsdp2` for several."""
    return fsdp2(device, world_size) if world_size > 1 else single(device, world_size)
