"""What one program may use."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """All are hard: what goes beyond one fails.

    Attributes:
        cpu_seconds: of processor time.
        wall_seconds: of real time, for programs that wait.
        memory_bytes: of address space.
        file_bytes: per file.
        disk_bytes: of all files together, where they lie in memory (a private root).
        open_files: descriptors.
        threads: in the one process that a program is.
    """

    cpu_seconds: int
    wall_seconds: float
    memory_bytes: int
    file_bytes: int
    disk_bytes: int
    open_files: int
    threads: int
