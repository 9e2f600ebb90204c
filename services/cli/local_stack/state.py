"""What the stack keeps: one data directory and what is written in it."""

import os
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

import msgspec

from services.cli.errors import CommandError
from services.cli.invocation import DEFAULT_DATA

_Value = TypeVar("_Value", bound=msgspec.Struct)


class Layout(msgspec.Struct, frozen=True):
    """Where everything lives in a data directory.

    Attributes:
        root: The directory, absolute.
    """

    root: Path

    @property
    def lock(self) -> Path:
        """Held by the running supervisor; contains its process id."""
        return self.root / "lock"

    @property
    def state(self) -> Path:
        """A ``Stack`` as JSON, rewritten at each change."""
        return self.root / "state.json"

    @property
    def topics(self) -> Path:
        """A ``TopicsMade`` as JSON."""
        return self.root / "topics.json"

    @property
    def secret(self) -> Path:
        """32 random bytes that sign what the gateway publishes."""
        return self.root / "secret"

    @property
    def dev_key(self) -> Path:
        """The development key and nothing else."""
        return self.root / "dev-key"

    @property
    def kafka(self) -> Path:
        """The broker's settings and log segments."""
        return self.root / "kafka"

    @property
    def redis(self) -> Path:
        """Redis' working folder."""
        return self.root / "redis"

    @property
    def logs(self) -> Path:
        """One log file a process."""
        return self.root / "logs"

    def command(self, name: str) -> str:
        """How to call a command on this directory, for people to copy."""
        usual = self.root.name == DEFAULT_DATA.name
        return f"millrace {name}" if usual else f"millrace {name} --data {self.root}"

    def log_of(self, process: str) -> Path:
        """The log file of a process."""
        return self.logs / f"{process}.log"


class ProcessState(StrEnum):
    """Where a process is in its life."""

    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    STOPPED = "stopped"


class StackState(StrEnum):
    """Where the whole is in its life."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"


class ProcessRecord(msgspec.Struct, kw_only=True):
    """One process of the stack.

    Attributes:
        name: Unique in the stack: the service, with its slot where that is not 0.
        pid: Process id; null when it does not run.
        state: Where it is in its life.
        restarts: How often it was started again since the stack's start.
        created_at_s: When the system created the process, unix seconds; tells it from a later
            process with the same id.
        probes: URL of its ``/metrics`` and ``/readyz``; empty = it has none.
    """

    name: str
    pid: int | None = None
    state: ProcessState = ProcessState.WAITING
    restarts: int = 0
    created_at_s: float = 0.0
    probes: str = ""


class Stack(msgspec.Struct, kw_only=True):
    """The stack as its supervisor sees it.

    Attributes:
        state: Where the whole is in its life.
        pid: The supervisor's process id.
        data: The data directory.
        partitions: Partitions of each pipeline topic.
        config: File that it serves by, absolute; empty = a stack of an earlier version.
        addresses: URL or ``host:port`` by name.
        processes: Everything that runs.
    """

    state: StackState
    pid: int
    data: str
    partitions: int
    config: str = ""
    addresses: dict[str, str] = {}
    processes: list[ProcessRecord] = []


class TopicsMade(msgspec.Struct, kw_only=True):
    """What the data directory's topics were made from.

    Attributes:
        partitions: Partitions of each pipeline topic; cannot change in place.
        digest: Of the declarations that were applied last.
    """

    partitions: int
    digest: str


def write_atomically(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Replace a file so that a reader sees the old or the new content, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(content)
    temporary.replace(path)


def write_json(path: Path, value: msgspec.Struct) -> None:
    """Replace a file by a value as JSON."""
    write_atomically(path, msgspec.json.format(msgspec.json.encode(value), indent=2))


def read_stack(layout: Layout) -> Stack | None:
    """What the last supervisor wrote; None where there never was one."""
    return _read(layout.state, Stack)


def read_topics_made(layout: Layout) -> TopicsMade | None:
    """What the topics were made from; None before they were made."""
    return _read(layout.topics, TopicsMade)


def _read(path: Path, kind: type[_Value]) -> _Value | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise CommandError(
            f"{path} is damaged ({error}). Nothing but this file is lost: remove it and try again."
        ) from error
