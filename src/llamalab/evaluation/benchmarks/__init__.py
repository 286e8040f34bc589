"""Benchmark datasets: from the hub by default, or the same rows from files in a local folder."""

from llamalab.evaluation.benchmarks.loading import DatasetMissing, load

__all__ = ["DatasetMissing", "load"]
