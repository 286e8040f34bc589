"""Which format a folder is in, and the checkpoint that is in it."""

from pathlib import Path

from llamalab.checkpoint import hugging_face, meta, native
from llamalab.checkpoint.source import Source
from llamalab.common.errors import UserError


def open_checkpoint(path: str | Path) -> Source:
    """The checkpoint in a folder: a run directory or one of its steps, a Hugging Face folder, or Meta's.

    Recognised by the files that are there, never by a name; names and shapes of the weights are checked.

    Raises:
        UserError: nothing there, or something that is not whole, fits no architecture we have, or is not supported.
    """
    path = Path(path)
    if not path.is_dir():
        raise UserError(f"{path}: no such folder; give a run directory, a Hugging Face folder or a folder of Meta's")
    if native.is_native(path):
        found = native.open_checkpoint(path)
    elif (path / hugging_face.CONFIG).is_file():
        found = hugging_face.open_checkpoint(path)
    elif (path / meta.PARAMS).is_file() or meta.weight_files(path):
        found = meta.open_checkpoint(path)
    else:
        found = native.open_checkpoint(path)  # which says what is missing
    found.check()
    return found
