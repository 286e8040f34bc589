"""Tiny models are fastest on one thread, and other tests run beside these."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread_and_seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
