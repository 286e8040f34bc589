"""llamalab: the LLaMA paper (arXiv 2302.13971) as a runnable, checkable experiment suite."""

__version__ = "0.1.0"
