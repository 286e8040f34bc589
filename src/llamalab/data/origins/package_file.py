"""Text inside a file of the package registry: a wheel or an sdist, read as the archive it is."""

from collections.abc import Iterator
from pathlib import Path

from llamalab.common.errors import UserError
from llamalab.common.files import sha256_file
from llamalab.data.origins.archives import read_archive
from llamalab.data.progress import say
from llamalab.data.source import Record


class PackageFile:
    """One pinned file of a project on the package index.

    Args:
        project: the project's name on the index.
        version: its version, for the reader; the file and the hash decide.
        filename: which of the version's files.
        sha256: of the file; another one is refused.
        include: glob patterns of the members to read.
        exclude: glob patterns of members to leave out.
        licence: of the text inside, as the project declares it.
    """

    def __init__(
        self,
        project: str,
        version: str,
        filename: str,
        sha256: str,
        include: list[str],
        exclude: list[str],
        licence: str,
    ) -> None:
        if version not in filename:
            raise UserError(f"source {project}: file '{filename}' is not of version {version}; make them agree")
        if Path(filename).name != filename:
            raise UserError(f"source {project}: '{filename}' is not a plain file name")
        self.project, self.filename, self.sha256 = project, filename, sha256
        self.include, self.exclude, self.licence = include, exclude, licence

    def fetch(self, raw: Path) -> list[Path]:
        """Downloads the file unless it is in `raw` with the right hash already.

        Raises:
            UserError: it cannot be fetched, or its hash is not the pinned one.
        """
        target = raw / self.filename
        if target.is_file() and sha256_file(target) == self.sha256:
            return [target]
        # Imported here: the client takes half a second to load, and a fetched corpus does not need it.
        from llamalab.data.origins.registry import Registry

        Registry().download(self.project, self.filename, self.sha256, target)
        say(f"fetched {self.filename} ({target.stat().st_size / 2**20:.1f} MiB, sha256 checked)")
        return [target]

    def records(self, raw: Path) -> Iterator[Record]:
        """The wanted members. Raises UserError if none matches."""
        found = False
        for record in read_archive(raw / self.filename, self.include, self.exclude):
            found = True
            yield record
        if not found:
            raise UserError(
                f"{raw / self.filename}: no member matches {self.include}; correct `include` in conf/source/"
            )
