"""The architecture in plain torch; imports nothing of ours."""

from llamalab.model.llama import Llama

__all__ = ["Llama"]
