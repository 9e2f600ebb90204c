"""The processes' log files: followed for the screen, and kept from growing without bound.

Processes write to their files by themselves, so a slow or dead supervisor never holds them up.
"""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec

MAX_BYTES = 10 * 1024 * 1024
_MOST_AT_ONCE_BYTES = 256 * 1024
_JAVA_ADVICE = "WARNING: "  # to the authors of libraries; Kafka itself writes WARN
_REDIS = re.compile(r"\d+:[A-Z] ")
_REDIS_TROUBLE = re.compile(r"error|fatal|could not|can't|oom", re.IGNORECASE)
_RETRYING_LIBRARY = "aiokafka"  # it tries again; what that means for a service, the service says
_QUIET_LEVELS = frozenset(("debug", "info"))


class LogLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a process.

    Attributes:
        process: Whose it is.
        text: For people: the time, level, message and fields of a JSON line, else as it was.
        is_quiet: Whether it says that all is well.
    """

    process: str
    text: str
    is_quiet: bool


class LogFollower:
    """Reads what several log files gain."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        """Start at the present end of each file."""
        self._files = files
        self._read_bytes = {name: _size(path) for name, path in files.items()}
        self._rest: dict[str, bytes] = {}

    def new_lines(self) -> list[LogLine]:
        """The whole lines that were added since the last call."""
        return [
            read_line(name, line.decode(errors="replace"))
            for name, path in self._files.items()
            for line in self._new_lines_of(name, path)
            if line.strip()
        ]

    def _new_lines_of(self, name: str, path: Path) -> list[bytes]:
        size_bytes = _size(path)
        start = self._read_bytes[name]
        if size_bytes == start:
            return []
        if size_bytes < start:  # it was cut
            start = 0
        with path.open("rb") as file:
            file.seek(start)
            came = file.read(_MOST_AT_ONCE_BYTES)
        self._read_bytes[name] = start + len(came)
        *lines, rest = (self._rest.get(name, b"") + came).split(b"\n")
        self._rest[name] = rest[-_MOST_AT_ONCE_BYTES:]
        return lines


def bound(path: Path, *, max_bytes: int = MAX_BYTES) -> None:
    """Keep a log file and one predecessor, ``<name>.1``, of at most about ``max_bytes`` each.

    The file is copied and cut, since its process keeps it open for appending; a line written
    between the two may be lost.
    """
    if _size(path) > max_bytes:
        shutil.copyfile(path, path.with_name(f"{path.name}.1"))
        with path.open("r+b") as file:
            file.truncate()


def tail(path: Path, *, lines: int) -> str:
    """The last lines of a log file."""
    with path.open("rb") as file:
        file.seek(max(0, _size(path) - _MOST_AT_ONCE_BYTES))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])


def read_line(process: str, line: str) -> LogLine:
    """Read a line of a log for people."""
    try:
        fields = msgspec.json.decode(line, type=dict[str, object])
    except msgspec.DecodeError:
        is_quiet = line.startswith(_JAVA_ADVICE) or (
            _REDIS.match(line) is not None and _REDIS_TROUBLE.search(line) is None
        )
        return LogLine(process=process, text=line.rstrip(), is_quiet=is_quiet)
    at = str(fields.pop("at", ""))[11:23]
    level = str(fields.pop("level", "info"))
    message = str(fields.pop("message", ""))
    fields.pop("service", None)
    is_retry = str(fields.pop("logger", "")).startswith(_RETRYING_LIBRARY)
    details = " ".join(f"{key}={value}" for key, value in fields.items())
    text = " ".join(part for part in (at, level, message, details) if part)
    return LogLine(process=process, text=text, is_quiet=is_retry or level in _QUIET_LEVELS)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
