"""Fetching the broker's jars from a repository that misbehaves."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from services.cli.errors import CommandError
from services.cli.local_stack import kafka_jars
from services.cli.local_stack.kafka_jars import (
    Jar,
    damaged_jars,
    fetch_jars,
    jars_folder,
    missing_jars,
    pinned_jars,
)
from services.shared.adapters.cache_folder import cache_folder

CONTENT = {"one": b"1" * 300_000, "two": b"2" * 1_000}


class Repository(ThreadingHTTPServer):
    """Serves ``CONTENT``; may fail first, or serve something else."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.failures = 0
        self.asked: list[str] = []
        self.replacement: bytes | None = None

    @property
    def environ(self) -> dict[str, str]:
        """The environment that points at this repository."""
        return {"MILLRACE_MAVEN_REPOSITORY": f"http://127.0.0.1:{self.server_port}/maven/"}


class _Handler(BaseHTTPRequestHandler):
    server: Repository

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.server.failures > 0:
            self.server.failures -= 1
            self.send_error(503)
            return
        artifact = self.path.split("/")[-3]
        content = self.server.replacement or CONTENT[artifact]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    """A repository on loopback."""
    monkeypatch.setattr(kafka_jars, "_RETRY_AFTER_S", 0.0)
    with Repository() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def jar(artifact: str) -> Jar:
    """A jar that the repository serves."""
    return Jar(
        group="org.example.things",
        artifact=artifact,
        version="1.0",
        size_bytes=len(CONTENT[artifact]),
        sha256=hashlib.sha256(CONTENT[artifact]).hexdigest(),
    )


def test_the_list_pins_every_artifact_of_the_broker() -> None:
    """Each of the 46 has a checksum and a size, and none is there twice."""
    jars = pinned_jars()
    assert len(jars) == 46
    assert len({jar.file_name for jar in jars}) == 46
    assert all(len(bytes.fromhex(jar.sha256)) == 32 and jar.size_bytes > 0 for jar in jars)
    assert {"kafka_2.13-4.3.1.jar", "log4j-slf4j-impl-2.25.3.jar"} <= {j.file_name for j in jars}


def test_jars_are_fetched_from_where_maven_keeps_them(
    repository: Repository, tmp_path: Path
) -> None:
    """Each arrives whole under its file name, and its bytes are counted."""
    counted: list[int] = []
    fetch_jars(
        [jar("one"), jar("two")],
        folder=tmp_path,
        environ=repository.environ,
        on_bytes=counted.append,
    )
    assert (tmp_path / "one-1.0.jar").read_bytes() == CONTENT["one"]
    assert (tmp_path / "two-1.0.jar").read_bytes() == CONTENT["two"]
    assert sorted(repository.asked)[0] == "/maven/org/example/things/one/1.0/one-1.0.jar"
    assert sum(counted) == len(CONTENT["one"]) + len(CONTENT["two"])
    assert len(list(tmp_path.iterdir())) == 2, "nothing else is left"


def test_a_failure_that_passes_is_not_noticed(repository: Repository, tmp_path: Path) -> None:
    """A repository that answers at the third attempt is good enough."""
    repository.failures = 2
    fetch_jars([jar("one")], folder=tmp_path, environ=repository.environ, on_bytes=lambda _: None)
    assert (tmp_path / "one-1.0.jar").exists()


@pytest.mark.parametrize("replacement", [b"<html>log in first</html>", CONTENT["one"] + b"more"])
def test_content_that_was_not_pinned_never_reaches_the_cache(
    repository: Repository, tmp_path: Path, replacement: bytes
) -> None:
    """A mirror or proxy that sends something else leaves no file, and the remedy is named."""
    repository.replacement = replacement
    counted: list[int] = []
    with pytest.raises(CommandError, match="its checksum is not the pinned one") as raised:
        fetch_jars(
            [jar("one")], folder=tmp_path, environ=repository.environ, on_bytes=counted.append
        )
    assert "MILLRACE_MAVEN_REPOSITORY" in str(raised.value)
    assert not list(tmp_path.iterdir())
    assert sum(counted) == 0, "what was thrown away is not counted"


def test_only_what_is_missing_or_of_another_size_is_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupted fetch goes on where it stopped."""
    monkeypatch.setattr(kafka_jars, "pinned_jars", lambda: (jar("one"), jar("two")))
    assert missing_jars(tmp_path) == [jar("one"), jar("two")]
    (tmp_path / "one-1.0.jar").write_bytes(CONTENT["one"])
    (tmp_path / "two-1.0.jar").write_bytes(b"2")
    assert missing_jars(tmp_path) == [jar("two")]


def test_damage_is_found_by_reading_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of the right size and the wrong content is named by ``millrace doctor``."""
    monkeypatch.setattr(kafka_jars, "pinned_jars", lambda: (jar("one"), jar("two")))
    (tmp_path / "one-1.0.jar").write_bytes(CONTENT["one"])
    (tmp_path / "two-1.0.jar").write_bytes(b"x" * 1_000)
    assert damaged_jars(tmp_path) == [jar("two")]


def test_the_cache_is_outside_the_checkout(tmp_path: Path) -> None:
    """It is where the system keeps what can be fetched again, in a folder of this very list."""
    assert cache_folder({"XDG_CACHE_HOME": str(tmp_path)}) == tmp_path / "millrace"
    assert cache_folder({}) == Path.home() / ".cache" / "millrace"
    assert jars_folder({"XDG_CACHE_HOME": str(tmp_path)}).parent == tmp_path / "millrace"
