"""What these commands need of a log; ``services.shared.stream.dead_letter_log`` is Kafka's."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from services.shared.domain.dead_letters import Place
from services.shared.stream.bulk import Read
from services.shared.stream.dead_letter_log import Write


class Reader(Protocol):
    """Reads a topic to its end."""

    @property
    def total(self) -> int:
        """Records there are, holes included."""
        ...

    def batches(self, *, follow: bool) -> Iterator[Sequence[Read]]:
        """Hand out the records."""
        ...

    def close(self) -> None:
        """Disconnect."""
        ...


class Log(Protocol):
    """The dead-letter topics of a cluster; each call may raise ``Unavailable``."""

    def partition_counts(self) -> Mapping[str, int]:
        """The number of partitions of every topic that the cluster has."""
        ...

    def reader(self, topic: str, *, since_ms: int | None = None) -> Reader:
        """A reader of a topic, from its start or from a time."""
        ...

    def fetch(self, places: Sequence[Place]) -> Iterator[Read]:
        """Read the records at some places; those that are gone are left out."""
        ...

    def redriving(self) -> AbstractContextManager[Write]:
        """Begin to put records back; any other process that does can write no more."""
        ...

    def delete(self, topic: str, befores: Mapping[int, int]) -> None:
        """Delete the beginning of partitions: all before the offset of each."""
        ...


Progress = Callable[[str, int, int], None]
"""Told the topic that is read, how many records came since, and how many there are."""
