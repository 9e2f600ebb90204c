"""A topic that is read to its end."""

from collections.abc import Iterator, Sequence

from services.shared.codec.records import encode_record
from services.shared.domain.events import Event
from services.shared.stream.bulk import Read


class MemoryTopic:
    """A topic of some records.

    Attributes:
        is_closed: Whether it was closed.
    """

    def __init__(self, records: Sequence[tuple[str, Event | bytes]]) -> None:
        """Hold records, each with its key."""
        self._records = records
        self.is_closed = False

    def batches(self, *, follow: bool) -> Iterator[Sequence[Read]]:
        """Hand all out."""
        assert not follow
        yield [
            Read(
                topic="t",
                partition=0,
                offset=offset,
                timestamp_ms=0,
                key=key.encode(),
                value=value if isinstance(value, bytes) else encode_record(value),
                headers=(),
            )
            for offset, (key, value) in enumerate(self._records)
        ]

    def close(self) -> None:
        """Remember it."""
        self.is_closed = True
