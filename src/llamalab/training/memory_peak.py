"""Peak memory of a run: of the GPU's allocator, or of the process where there is none."""

import psutil
import torch


class PeakMemory:
    """Largest memory seen. On a GPU the allocator knows the true peak; on a CPU it is sampled at each logged row."""

    def start(self, device: torch.device) -> None:
        """Begins a new measurement on `device`."""
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def read(self) -> int:
        """Bytes: the peak so far (GPU) or the resident size now (CPU)."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        return psutil.Process().memory_info().rss
