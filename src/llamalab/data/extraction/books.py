"""Books, one a file, with the work that each is an edition of."""

import re
from pathlib import PurePosixPath

from llamalab.common.errors import UserError
from llamalab.data.source import Extract, Record
from llamalab.data.text import decode, tidy


class Books:
    """A whole book as one document.

    Args:
        edition: a regular expression for the part of a file's stem that marks the edition; what is left is the work.
        same_work: work as a file names it, to the work it belongs to, where editions are named differently or one
            book holds another's text. Texts of one work stay on one side of the train/validation split, also where
            their spelling differs too much for any measure of overlap (a folio and a modern edition).
    """

    def __init__(self, edition: str, same_work: dict[str, str]) -> None:
        try:
            self.edition = re.compile(edition)
        except re.error as error:
            raise UserError(f"extractor.edition: '{edition}' is not a regular expression ({error})") from None
        self.same_work = same_work

    def __call__(self, record: Record) -> list[Extract]:
        work = self.edition.sub("", PurePosixPath(record.name).stem)
        text = tidy(decode(record.data))
        return [Extract(record.name, text, {"work": self.same_work.get(work, work)})]
