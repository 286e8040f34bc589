"""Text that needs nothing but clean Unicode: source code, text files."""

from llamalab.data.source import Extract, Record
from llamalab.data.text import decode, tidy


class PlainText:
    """A file as it is.

    Args:
        empty_lines: how many may follow each other; source code has two, prose one.
    """

    def __init__(self, empty_lines: int) -> None:
        self.empty_lines = empty_lines

    def __call__(self, record: Record) -> list[Extract]:
        return [Extract(record.name, tidy(decode(record.data), self.empty_lines), {})]
