"""The log of a partition in memory, and places in it."""

from collections.abc import Iterator, Sequence

import msgspec

from services.shared.stream.client import Raw, record_limit_bytes

Headers = Sequence[tuple[str, bytes]]
_FRAMING_BYTES = 80


class MemoryPartition:
    """The log of one partition. An entry of None is an offset without a record."""

    def __init__(self) -> None:
        """Start empty."""
        self.entries: list[Raw | None] = []
        self.start = 0
        self.open_transactions: list[int] = []

    def clear(self) -> None:
        """Begin anew at offset 0."""
        self.entries.clear()
        self.start = 0

    @property
    def end(self) -> int:
        """The offset that the next record gets."""
        return len(self.entries)

    @property
    def stable_end(self) -> int:
        """Where readers of committed records stop: the first record of an open transaction."""
        return min(self.open_transactions, default=self.end)


class PartitionView(msgspec.Struct):
    """A place in a partition from which committed records are read."""

    log: MemoryPartition
    position: int

    @property
    def is_out_of_range(self) -> bool:
        """Whether the position is no place in the log."""
        return not self.log.start <= self.position <= self.log.end

    def take(self, max_records: int) -> Iterator[Raw]:
        """Hand out records and move on, over offsets without one."""
        taken = 0
        while self.position < self.log.stable_end and taken < max_records:
            raw = self.log.entries[self.position]
            self.position += 1
            if raw is not None:
                taken += 1
                yield raw


def size_bytes(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """Size of a record in the log, at most."""
    carried = sum(len(name) + len(content) for name, content in headers)
    return len(key or b"") + len(value or b"") + carried + _FRAMING_BYTES


def is_oversize(topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> bool:
    """Whether a topic takes no record of this size."""
    return size_bytes(key, value, headers) > record_limit_bytes(topic)
