"""Benchmark datasets: from the hub by default, or the same rows from files in a local folder."""

from llamalab.evaluation.benchmarks.loading import DatasetMissing, fingerprint, load, note_of

__all__ = ["DatasetMissing", "fingerprint", "load", "note_of"]
