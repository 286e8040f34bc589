"""Keeping freed memory in the process, so that a training step on a CPU does not fault it in again.

By default glibc gets each large tensor from the kernel by mmap and hands it back as soon as it is freed. The next step
asks for the same memory again, and the kernel zeroes every page of it anew: some 40,000 page faults a step for a model
of a few million parameters, which is 4 to 9% of its time on the machine where this was measured and up to a fifth where
page faults are dearer. Results do not change.
"""

import ctypes
import platform

# mallopt's parameter numbers, from glibc's malloc.h
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4


def keep_freed_memory() -> bool:
    """From now on this process keeps what it frees, up to its peak; returns False where the C library is not glibc.

    Large blocks come from the heap instead of mmap (a raised mmap threshold would end at 32 MiB, less than one large
    tensor), and the top of the heap is never given back.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, -1))
