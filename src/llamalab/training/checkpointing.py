"""Lightning's checkpoint dictionary in our native format, and when to write it."""

import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import CheckpointIO

from llamalab.checkpoint import native
from llamalab.common.errors import UserError

# The LightningModule holds the network as `self.model`; files name the network's parameters without that prefix.
PREFIX = "model."


class NativeCheckpointIO(CheckpointIO):
    """Reads and writes `step=NNNNNNNN` folders (see llamalab.checkpoint.native)."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Writes the folder whole or not at all."""
        weights = {name.removeprefix(PREFIX): tensor for name, tensor in checkpoint["state_dict"].items()}
        trainer = {key: value for key, value in checkpoint.items() if key != "state_dict"}
        native.save(Path(path), weights, trainer, {"step": checkpoint["global_step"], "tokens": checkpoint["tokens"]})

    def load_checkpoint(self, path: str | Path, map_location: Any = None, weights_only: Any = None) -> dict[str, Any]:
        """Reads a folder back into the dictionary Lightning restores from; never unpickles code."""
        folder = Path(path)
        try:
            checkpoint: dict[str, Any] = torch.load(folder / native.TRAINER, map_location="cpu", weights_only=True)
        except Exception as error:
            raise UserError(
                f"{folder / native.TRAINER}: cannot be read ({str(error).splitlines()[0]}); delete {folder} to resume "
                "from the checkpoint before it"
            ) from None
        weights = native.load_weights(folder)
        checkpoint["state_dict"] = {PREFIX + name: tensor for name, tensor in weights.items()}
        return checkpoint

    def remove_checkpoint(self, path: str | Path) -> None:
        """Removes a folder: renamed first, so that a crash half-way leaves nothing that looks like a checkpoint."""
        folder = Path(path)
        leaving = folder.with_name(f".{folder.name}.removed")
        folder.rename(leaving)
        shutil.rmtree(leaving, ignore_errors=True)


def checkpoint_bytes(parameters: int) -> int:
    """Disk space for one checkpoint: fp32 weights and two fp32 moments, and a little for the rest."""
    return 12 * parameters + 2**20
