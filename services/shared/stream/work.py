"""A record in work: what a processor sees of it, and what it may do with it."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

from services.shared.domain.emit import Emit
from services.shared.domain.errors import PoisonRecord
from services.shared.domain.events import Event, Hop, InferenceRequested

if TYPE_CHECKING:
    from asyncio import Future

    from aiokafka.structs import RecordMetadata

    from services.shared.stream.client import Raw
    from services.shared.stream.outbox import Outbox

E = TypeVar("E", bound=Event)


class Work(Generic[E]):
    """One open record.

    It stays open until ``finish`` was called and everything emitted for it is acknowledged; only
    then may its offset be committed. It ends once: whatever is said of it later changes nothing.

    Attributes:
        event: The decoded record.
        headers: Its headers.
        received_ms: When it was taken into work, unix ms.
        raw: The record as it was delivered.
        is_finished: Whether ``finish``, ``bury`` or ``abandon`` was called.
    """

    __slots__ = (
        "_is_closed",
        "_on_done",
        "_outbox",
        "_unacknowledged",
        "event",
        "headers",
        "is_finished",
        "raw",
        "received_ms",
    )

    def __init__(  # noqa: PLR0913  # made in one place
        self,
        *,
        event: E,
        raw: "Raw",
        headers: dict[str, bytes],
        received_ms: float,
        outbox: "Outbox",
        on_done: "Callable[[Work[E], PoisonRecord | None], None]",
    ) -> None:
        self.event = event
        self.headers = headers
        self.received_ms = received_ms
        self.raw = raw
        self.is_finished = False
        self._outbox = outbox
        self._on_done = on_done
        self._unacknowledged = 0
        self._is_closed = False

    @property
    def topic(self) -> str:
        """Topic it was read from."""
        return self.raw.topic

    @property
    def partition(self) -> int:
        """Partition it was read from."""
        return self.raw.partition

    @property
    def offset(self) -> int:
        """Its offset."""
        return self.raw.offset

    @property
    def timestamp_ms(self) -> int:
        """Kafka's timestamp of the record, unix ms."""
        return self.raw.timestamp

    @property
    def value(self) -> bytes:
        """Its undecoded value."""
        return self.raw.value or b""

    def hop(self, request: InferenceRequested, *, now_ms: float) -> Hop:
        """This stage's hop in the journey of a request, finished now."""
        raw = self.raw
        return Hop(
            service=self._outbox.service,
            topic=raw.topic,
            partition=raw.partition,
            offset=raw.offset,
            received_ms=round(self.received_ms - request.accepted_at, 3),
            finished_ms=round(now_ms - request.accepted_at, 3),
        )

    async def emit(self, emit: Emit) -> "Future[RecordMetadata]":
        """Produce a record for this one; returns when it is handed over, not acknowledged.

        This stage's hop is added to the record's ``hops`` where it has some and is not encoded yet.
        While no broker answers, this waits. The future says where the record was written.

        Raises:
            PoisonRecord: It is larger than the log takes. Not retriable.
            MustStop: This process may not write any more. Not retriable.
        """
        return await emit_for((self,), self._with_hop(emit))

    def finish(self) -> None:
        """Nothing more will be emitted for this record."""
        self.is_finished = True
        self._close_if_done()

    def bury(self, poison: PoisonRecord) -> None:
        """Give the record up: it becomes a dead letter."""
        self._end(poison)

    def abandon(self) -> bool:
        """Let the record be: it stays uncommitted and is read again; whether it was still open."""
        was_open = not self._is_closed
        self.is_finished = self._is_closed = True
        return was_open

    def _with_hop(self, emit: Emit) -> Emit:
        is_whole = emit.value or emit.delay  # encoded already, or as it came
        if emit.request is None or is_whole or "hops" not in emit.event.__struct_fields__:
            return emit
        hop = self.hop(emit.request, now_ms=self._outbox.clock.now_ms())
        hops = (*emit.event.hops, hop)  # type: ignore[attr-defined]  # checked above
        return msgspec.structs.replace(emit, event=msgspec.structs.replace(emit.event, hops=hops))

    def _acknowledged(self) -> None:
        self._unacknowledged -= 1
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self.is_finished and not self._unacknowledged:
            self._end(None)

    def _end(self, poison: PoisonRecord | None) -> None:
        if not self._is_closed:
            self.is_finished = self._is_closed = True
            self._on_done(self, poison)


async def emit_for(works: Sequence[Work[E]], emit: Emit) -> "Future[RecordMetadata]":
    """Produce one record for several; each stays open until it is acknowledged.

    Raises:
        PoisonRecord: It is larger than the log takes. Not retriable.
        MustStop: This process may not write any more. Not retriable.
    """
    for work in works:
        work._unacknowledged += 1  # noqa: SLF001  # own class, as below

    def acknowledged() -> None:
        for work in works:
            work._acknowledged()  # noqa: SLF001

    first = works[0]
    try:
        return await first._outbox.send(  # noqa: SLF001
            emit, source=first.raw, on_acknowledged=acknowledged
        )
    except BaseException:
        for work in works:
            work._unacknowledged -= 1  # noqa: SLF001
        raise
