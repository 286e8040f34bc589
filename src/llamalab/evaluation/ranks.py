"""Several processes that share out the documents, one per device, as torchrun starts them."""

import datetime
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

# Ranks wait for the slowest at the end of each kind of request; a long evaluation must not end in a timeout.
PATIENCE = datetime.timedelta(days=7)


class Ranks:
    """This process among those of one evaluation.

    Only facts and answers are exchanged, no tensors of the model, so gloo serves on any device.

    Attributes:
        rank: of this process.
        world_size: number of processes.
    """

    def __init__(self, rank: int = 0, world_size: int = 1) -> None:
        self.rank = rank
        self.world_size = world_size

    @property
    def first(self) -> bool:
        """Whether this is the process that writes results."""
        return self.rank == 0

    def device(self, chosen: torch.device) -> torch.device:
        """The chosen device, or where that is a kind of which there are several, this process's own."""
        if chosen.type != "cuda" or chosen.index is not None or self.world_size == 1:
            return chosen
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))

    def gather(self, value: Any) -> list[Any] | None:
        """The values of all ranks on the first one, None elsewhere."""
        if self.world_size == 1:
            return [value]
        values: list[Any] | None = [None] * self.world_size if self.first else None
        dist.gather_object(value, values, dst=0)
        return values

    def total(self, value: int) -> int:
        """The sum over all ranks, on every rank."""
        if self.world_size == 1:
            return value
        summed = torch.tensor(value)
        dist.all_reduce(summed)
        return int(summed)

    def wait(self) -> None:
        """Returns when all ranks have come here."""
        if self.world_size > 1:
            dist.barrier()


ALONE = Ranks()


@contextmanager
def ranks_of_launch() -> Iterator[Ranks]:
    """The ranks that torchrun started (`torchrun --nproc-per-node N`), connected while the block runs; else one."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        yield ALONE
        return
    dist.init_process_group("gloo", timeout=PATIENCE)
    try:
        yield Ranks(dist.get_rank(), world_size)
    finally:
        dist.destroy_process_group()


def everywhere(tensor: Tensor, ranks: Ranks) -> Tensor:
    """This rank's value as if all ranks had it.

    lm-eval gathers the number of requests of each rank and gives ranks with fewer of them copies of their last one,
    for models whose ranks must take equally many steps. Ours need not, and extra answers to the last document would
    count as its repeats.
    """
    return tensor.repeat(ranks.world_size)
