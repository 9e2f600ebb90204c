"""Reading the partitions of ``result-chunks`` from any place on."""

from collections.abc import Sequence
from typing import Protocol


class ChunkRecord(Protocol):
    """A record of ``result-chunks`` as it lies in the log."""

    @property
    def key(self) -> bytes | None:
        """The request id."""
        ...

    @property
    def value(self) -> bytes | None:
        """The encoded chunk."""
        ...

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        """What the record says of its request."""
        ...

    @property
    def partition(self) -> int:
        """Where it lies."""
        ...

    @property
    def offset(self) -> int:
        """Where it lies there."""
        ...

    @property
    def timestamp(self) -> int:
        """Since when it lies there, unix ms."""
        ...


class ChunkCursor(Protocol):
    """A place in one partition from which chunks are read."""

    async def seek_to_time(self, at_ms: int) -> int:
        """Go to the first record of this time (unix ms) or later, or to the end; returns where.

        Raises:
            Unavailable: No broker answers. Retriable.
        """
        ...

    async def seek(self, offset: int) -> None:
        """Go to an offset; where it is no longer kept, reading goes on at the first that is."""
        ...

    async def position(self) -> int:
        """Offset of the next record.

        Raises:
            Unavailable: No broker answers. Retriable.
        """
        ...

    async def end(self) -> int:
        """The offset that the next record of the partition will get.

        Raises:
            Unavailable: No broker answers. Retriable.
        """
        ...

    async def read(self) -> Sequence[ChunkRecord]:
        """Wait for records, a second at most.

        Raises:
            Unavailable: No broker answers. Retriable.
        """
        ...

    async def close(self) -> None:
        """Give it up."""
        ...


class ChunkCursors(Protocol):
    """The partitions of ``result-chunks``."""

    @property
    def partition_count(self) -> int:
        """How many there are."""
        ...

    async def open(self, partition: int) -> ChunkCursor:
        """A cursor at the end of a partition.

        Raises:
            Unavailable: No broker answers. Retriable.
        """
        ...
