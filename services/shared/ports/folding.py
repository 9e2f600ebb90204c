"""Folding a topic into a table, partition by partition, as a processor sees it."""

from collections.abc import Iterable, Sequence
from typing import Generic, Protocol, TypeVar

import msgspec

from services.shared.domain.emit import Emit
from services.shared.domain.events import Event

E = TypeVar("E", bound=Event)


class Logged(msgspec.Struct, Generic[E], frozen=True):
    """A record and its place in the log.

    Attributes:
        event: The decoded record.
        offset: Its offset.
        at_ms: Kafka's timestamp of it, unix ms.
    """

    event: E
    offset: int
    at_ms: int


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What has to become durable, step by step; within a step, in order.

    The order is what makes redelivery harmless: the position is the last of the writes, so a
    table that holds it holds all that it stands for.

    Attributes:
        writes: Table keys and their new values.
        emits: Records that follow from the table as it then is.
        removals: Table keys that nobody needs once the records are durable.
    """

    writes: Sequence[tuple[bytes, bytes]] = ()
    emits: Sequence[Emit] = ()
    removals: Sequence[bytes] = ()


class PartitionFold(Protocol[E]):
    """One partition's part of the table, and what has been folded into it."""

    @property
    def next_offset(self) -> int:
        """Offset of the first record that the table knows nothing of."""
        ...

    def take(self, logged: Logged[E], *, now_s: float) -> None:
        """Fold one record; one that was folded before changes nothing.

        Args:
            logged: The record.
            now_s: Monotonic clock.

        Raises:
            PoisonRecord: It cannot be folded, and nothing of it was. Not retriable.
        """
        ...

    def skip(self, offset: int, *, now_s: float) -> None:
        """Pass a record that will never be folded."""
        ...

    def due_at_s(self) -> float | None:
        """When ``changes`` should be asked for, on the monotonic clock; None = not needed."""
        ...

    def changes(self, *, now_s: float) -> Changes:
        """What changed since the last call.

        Args:
            now_s: Monotonic clock.
        """
        ...


class Fold(Protocol[E]):
    """Opens partitions of a table."""

    def partition_of(self, key: bytes) -> int:
        """The partition that wrote a key of the table."""
        ...

    def open(self, partition: int, entries: Iterable[tuple[bytes, bytes]]) -> PartitionFold[E]:
        """Go on where the table stands.

        Args:
            partition: Which one.
            entries: All keys and values of the table that this partition wrote.
        """
        ...
