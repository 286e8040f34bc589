"""The hardware record of a run, and what is set for its process."""

import mmap
import platform

import pytest
import torch

from llamalab.common.errors import UserError
from llamalab.training import device, memory
from llamalab.training.memory_peak import PeakMemory


def test_a_machine_without_a_gpu_is_its_cores():
    found = device.detect("cpu")
    assert found.name == "CPU core"
    assert found.peak_flops["bf16"] > found.peak_flops["fp32"] > 0


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("NVIDIA H100 80GB HBM3", "H100-SXM5-80GB"),
        ("NVIDIA H200", "H200-SXM-141GB"),
        ("NVIDIA A100-SXM4-80GB", "A100-SXM4-80GB"),
    ],
)
def test_a_gpu_is_known_by_its_name(monkeypatch, name, record):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: name)
    assert device.detect("auto").name == record
    assert device.detect("cpu").name == "CPU core"


def test_an_unknown_gpu_says_where_to_describe_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Voodoo 2")
    with pytest.raises(UserError, match=r"device: no file in conf/device matches this GPU \(Voodoo 2\); copy one"):
        device.detect("auto")


def test_freed_memory_is_not_faulted_in_again():
    """Each of these tensors would be a mapping of its own, zeroed by the kernel anew each time."""
    import resource

    def faults() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(20):
            torch.ones(4_000_000)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    assert memory.keep_freed_memory() == (platform.libc_ver()[0] == "glibc")
    torch.ones(4_000_000)
    assert faults() < 40_000  # twenty tensors of 3,906 pages each would be 78,000


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("musl", "1"))
    assert memory.keep_freed_memory() is False


def test_peak_memory_of_a_process():
    """A mapping of its own: a tensor may be given pages that an earlier one left to the process."""
    peak = PeakMemory()
    peak.start(torch.device("cpu"))
    before = peak.read()
    with mmap.mmap(-1, 100_000_000) as held:
        for page in range(0, len(held), mmap.PAGESIZE):
            held[page] = 1
        assert peak.read() - before > 80_000_000
