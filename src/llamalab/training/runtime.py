"""What a run sets for its whole process: threads, allocator, matmul precision, which warnings are shown."""

import logging
import os
import warnings

import torch

from llamalab.common.errors import UserError
from llamalab.training import launch, memory
from llamalab.training.settings import TrainerSettings


def quiet_lightning() -> None:
    """Lightning's hints about workers, loggers and devices do not apply here and would hide our own lines."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (".*does not have many workers.*", ".*LeafSpec.*", ".*isinstance.treespec.*", ".*ckpt_path.*"):
        warnings.filterwarnings("ignore", message)
    # we open checkpoints as folders, and resume from the step instead of Lightning's loader state
    warnings.filterwarnings("ignore", ".*resuming from a checkpoint that ended before the epoch.*")
    warnings.filterwarnings("ignore", ".*torch.distributed.checkpoint.*")


def apply_runtime(settings: TrainerSettings) -> torch.device:
    """Process-wide settings: threads, allocator, matmul precision. Returns the device of this rank."""
    if settings.keep_freed_memory:
        memory.keep_freed_memory()
    torch.set_float32_matmul_precision(settings.matmul_precision)
    use_gpu = settings.accelerator == "gpu" or (settings.accelerator == "auto" and torch.cuda.is_available())
    if use_gpu and not torch.cuda.is_available():
        raise UserError("trainer.accelerator: gpu asked for but torch sees none; use trainer.accelerator=cpu")
    if use_gpu:
        if settings.devices > torch.cuda.device_count():
            raise UserError(f"trainer.devices: {settings.devices}, but torch sees {torch.cuda.device_count()} GPU(s)")
        return torch.device("cuda", launch.local_rank())
    torch.set_num_threads(settings.threads or max(1, (os.cpu_count() or 1) // settings.devices))
    return torch.device("cpu")
