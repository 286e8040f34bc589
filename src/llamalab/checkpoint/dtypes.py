"""The floating-point types that a user may name."""

import torch

from llamalab.common.configs import closest
from llamalab.common.errors import UserError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def dtype_of(name: str) -> torch.dtype:
    """The floating-point type of that name. Raises UserError for an unknown one."""
    if name not in DTYPES:
        raise UserError(f"dtype: '{name}' is unknown{closest(name, DTYPES)}")
    return DTYPES[name]
