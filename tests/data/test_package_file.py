"""Fetching through a package index on this machine; no test leaves it."""

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from llamalab.common.errors import UserError
from llamalab.data.origins import registry
from llamalab.data.origins.package_file import PackageFile


def sdist() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        info = tarfile.TarInfo("demo-1.0/docs/a.txt")
        info.size = 5
        tar.addfile(info, io.BytesIO(b"hello"))
    return buffer.getvalue()


SDIST = sdist()  # once: the time of day is in it


class Index(ThreadingHTTPServer):
    """A package index with one project; counts requests, and can cut answers short."""

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.requests: list[str] = []
        self.cut_answers = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/simple/"


class Handler(BaseHTTPRequestHandler):
    server: Index

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        if self.path == "/simple/demo/":
            body, kind = b'<a href="/files/demo-1.0.tar.gz">demo-1.0.tar.gz</a>', "text/html"
        elif self.path == "/files/demo-1.0.tar.gz":
            body, kind = self.server.content, "application/octet-stream"
        else:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.path.startswith("/files/") and self.server.cut_answers:
            self.server.cut_answers -= 1
            body = body[:10]
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    server = Index(SDIST)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("PIP_INDEX_URL", server.url)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    yield server
    server.shutdown()
    server.server_close()


def package(**changes: Any) -> PackageFile:
    arguments = {
        "project": "demo",
        "version": "1.0",
        "filename": "demo-1.0.tar.gz",
        "sha256": hashlib.sha256(SDIST).hexdigest(),
        "include": ["*/docs/*.txt"],
        "exclude": [],
        "licence": "MIT",
    }
    return PackageFile(**(arguments | changes))


def test_a_file_is_fetched_once_and_read(index: Index, tmp_path: Path) -> None:
    assert package().fetch(tmp_path / "raw") == [tmp_path / "raw/demo-1.0.tar.gz"]
    assert (tmp_path / "raw/demo-1.0.tar.gz").read_bytes() == index.content
    asked = len(index.requests)
    package().fetch(tmp_path / "raw")
    assert len(index.requests) == asked
    assert [(r.name, r.data) for r in package().records(tmp_path / "raw")] == [("demo-1.0/docs/a.txt", b"hello")]


def test_a_file_with_another_hash_is_refused(index: Index, tmp_path: Path) -> None:
    index.content += b"tampered"
    with pytest.raises(UserError, match=r"demo-1\.0\.tar\.gz: sha256 is .* not the pinned .* refused"):
        package().fetch(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_fetched_again(index: Index, tmp_path: Path) -> None:
    (tmp_path / "demo-1.0.tar.gz").write_bytes(b"half of it")
    package().fetch(tmp_path)
    assert (tmp_path / "demo-1.0.tar.gz").read_bytes() == index.content


def test_a_broken_connection_is_tried_again(index: Index, tmp_path: Path) -> None:
    index.cut_answers = registry.TRIES - 1
    package().fetch(tmp_path)
    assert index.requests.count("/files/demo-1.0.tar.gz") == registry.TRIES
    (tmp_path / "demo-1.0.tar.gz").unlink()
    index.cut_answers = registry.TRIES
    with pytest.raises(UserError, match=r"demo-1\.0\.tar\.gz: cannot be fetched from .* check the network"):
        package().fetch(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_unknown_projects_and_files_are_named(index: Index, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing: no such project on http://127"):
        package(project="nothing").fetch(tmp_path)
    with pytest.raises(UserError, match=r"demo-1\.0\.zip: http.* has no such file of demo"):
        package(filename="demo-1.0.zip").fetch(tmp_path)


def test_an_unreachable_index_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://user:secret@127.0.0.1:9/simple/")
    monkeypatch.setattr(registry, "CONNECTION_TRIES", 0)
    with pytest.raises(UserError, match=r"demo: cannot be fetched from http://127\.0\.0\.1:9/simple/") as caught:
        package().fetch(tmp_path)
    assert "secret" not in str(caught.value)


def test_pip_settings_come_from_its_files_and_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("PIP_INDEX_URL", "PIP_CERT"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = https://mirror.example/simple\ncert = /ca.pem\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    assert registry.pip_settings() == {"index-url": "https://mirror.example/simple", "cert": "/ca.pem"}
    monkeypatch.setenv("PIP_INDEX_URL", "https://other.example/simple")
    assert registry.pip_settings()["index-url"] == "https://other.example/simple"


def test_a_pattern_that_matches_nothing_is_named(index: Index, tmp_path: Path) -> None:
    package(include=["*.rst"]).fetch(tmp_path)
    with pytest.raises(UserError, match=r"no member matches \['\*\.rst'\]"):
        list(package(include=["*.rst"]).records(tmp_path))


@pytest.mark.parametrize("changes", [{"version": "2.0"}, {"filename": "../demo-1.0.tar.gz"}])
def test_names_that_do_not_fit_are_refused(changes: dict[str, str]) -> None:
    with pytest.raises(UserError, match="source demo"):
        package(**changes)
