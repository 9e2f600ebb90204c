"""The broker's jars: fetched once from Maven Central, checked, and kept outside the checkout.

The list and its checksums are data, ``kafka_jars.txt``; nothing is resolved at run time. A jar is
in the cache whole and right, or not at all, so an interrupted fetch goes on where it stopped.
"""

import hashlib
import http.client
import os
import ssl
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import cache
from pathlib import Path

import msgspec

from services.cli.errors import CommandError
from services.shared.adapters.cache_folder import cache_folder
from services.shared.adapters.tls import tls_context

MIRROR_VARIABLE = "MILLRACE_MAVEN_REPOSITORY"
_LOCK_FILE = Path(__file__).with_name("kafka_jars.txt")
_PARALLEL = 6
_ATTEMPTS = 3
_TIMEOUT_S = 30
_PIECE_BYTES = 256 * 1024
_RETRY_AFTER_S = 0.5

OnBytes = Callable[[int], None]


class Jar(msgspec.Struct, frozen=True, kw_only=True):
    """One pinned artifact.

    Attributes:
        group: Maven group, e.g. ``org.apache.kafka``.
        artifact: Maven artifact.
        version: Its version.
        size_bytes: Size of the file.
        sha256: Checksum of the file, 64 hex digits.
    """

    group: str
    artifact: str
    version: str
    size_bytes: int
    sha256: str

    @property
    def file_name(self) -> str:
        """Its name in a repository and in the cache."""
        return f"{self.artifact}-{self.version}.jar"

    @property
    def repository_path(self) -> str:
        """Where it lies in a Maven repository."""
        return f"{self.group.replace('.', '/')}/{self.artifact}/{self.version}/{self.file_name}"


@cache
def pinned_jars() -> tuple[Jar, ...]:
    """Everything on the broker's class path."""
    lines = [line.split() for line in _LOCK_FILE.read_text().splitlines() if line[:1] != "#"]
    return tuple(_jar(*fields) for fields in lines if fields)


def _jar(sha256: str, size_bytes: str, coordinates: str) -> Jar:
    group, artifact, version = coordinates.split(":")
    return Jar(
        group=group,
        artifact=artifact,
        version=version,
        size_bytes=int(size_bytes),
        sha256=sha256,
    )


def jars_folder(environ: Mapping[str, str]) -> Path:
    """Where the jars of this very list lie; another list has another folder."""
    digest = hashlib.sha256(_LOCK_FILE.read_bytes()).hexdigest()
    return cache_folder(environ) / f"kafka-{digest[:12]}"


def missing_jars(folder: Path) -> list[Jar]:
    """The jars that are not in a folder. Sizes are compared; checksums were when they came."""
    present = {entry.name: entry.stat().st_size for entry in os.scandir(folder)}
    return [jar for jar in pinned_jars() if present.get(jar.file_name) != jar.size_bytes]


def damaged_jars(folder: Path) -> list[Jar]:
    """The jars in a folder whose content is not what the list says; reads them all."""
    return [
        jar
        for jar in pinned_jars()
        if (folder / jar.file_name).exists() and _sha256(folder / jar.file_name) != jar.sha256
    ]


def fetch_jars(
    jars: Sequence[Jar], *, folder: Path, environ: Mapping[str, str], on_bytes: OnBytes
) -> None:
    """Fetch jars into a folder, several at once.

    Honours ``HTTPS_PROXY``, the usual variables that name a CA bundle, and
    ``MILLRACE_MAVEN_REPOSITORY``, the root of a mirror.

    Args:
        jars: What to fetch.
        folder: Where to.
        environ: The environment.
        on_bytes: Told how many bytes came, from several threads.

    Raises:
        CommandError: One could not be had; names it, the reason and the remedy. Retriable: what
            came stays.
    """
    repository = environ.get(MIRROR_VARIABLE) or _maven_central()
    context = tls_context(environ)

    def fetch(jar: Jar) -> None:
        url = f"{repository.rstrip('/')}/{jar.repository_path}"
        _fetch_with_retries(jar, url, folder, context, on_bytes)

    with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="jars") as pool:
        waiting = [pool.submit(fetch, jar) for jar in jars]
        try:
            for done in as_completed(waiting):
                done.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _maven_central() -> str:
    from jgo.constants import MAVEN_CENTRAL_URL  # noqa: PLC0415  0.1 s that only a fetch costs

    return str(MAVEN_CENTRAL_URL)


def _fetch_with_retries(
    jar: Jar, url: str, folder: Path, context: ssl.SSLContext, on_bytes: OnBytes
) -> None:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            _fetch(jar, url, folder, context, on_bytes)
        except (OSError, http.client.HTTPException, _WrongContentError) as error:
            if attempt == _ATTEMPTS:
                raise CommandError(
                    f"{jar.file_name} could not be fetched from {url}: {error}. Check the network "
                    f"(HTTPS_PROXY and SSL_CERT_FILE are honoured), or name the root of a Maven "
                    f"mirror in {MIRROR_VARIABLE}; then start again, what came is kept."
                ) from error
            time.sleep(_RETRY_AFTER_S * attempt)
        else:
            return


class _WrongContentError(Exception):
    """What came is not what the list says."""


def _fetch(jar: Jar, url: str, folder: Path, context: ssl.SSLContext, on_bytes: OnBytes) -> None:
    """Fetch one jar beside its place, check it, and move it there."""
    partial = folder / f".{jar.file_name}.{os.getpid()}"
    came_bytes = 0
    try:
        with (
            urllib.request.urlopen(url, timeout=_TIMEOUT_S, context=context) as answer,  # noqa: S310  the root comes from the user or from jgo
            partial.open("wb") as file,
        ):
            while came_bytes <= jar.size_bytes and (piece := answer.read(_PIECE_BYTES)):
                file.write(piece)
                came_bytes += len(piece)
                on_bytes(len(piece))
        _check(jar, partial)
        partial.replace(folder / jar.file_name)
    except BaseException:
        on_bytes(-came_bytes)
        partial.unlink(missing_ok=True)
        raise


def _check(jar: Jar, file: Path) -> None:
    if _sha256(file) != jar.sha256:
        raise _WrongContentError("its checksum is not the pinned one")


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
