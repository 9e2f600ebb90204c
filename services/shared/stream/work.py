"""A record in work: what a processor sees of it, and what it may do with it."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

from services.shared.domain.emit import Emit
from services.shared.domain.errors import PoisonRecord
from services.shared.domain.events import (
    CacheMissed,
    Event,
    Hop,
    InferenceRequested,
    RequestRouted,
)

if TYPE_CHECKING:
    from services.shared.stream.client import Raw
    from services.shared.stream.outbox import Outbox

E = TypeVar("E", bound=Event)


def request_of(event: Event) -> InferenceRequested | None:
    """The one request that a record is about; None for batches and results."""
    match event:
        case InferenceRequested():
            return event
        case CacheMissed() | RequestRouted():
            return event.request
        case _:
            return None


class Work(Generic[E]):
    """One open record.

    It stays open until ``finish`` was called and everything emitted for it is acknowledged; only
    then may its offset be committed.

    Attributes:
        event: The decoded record.
        headers: Its headers.
        received_ms: When it was polled, unix ms.
    """

    __slots__ = (
        "_finished",
        "_on_done",
        "_outbox",
        "_record",
        "_unacknowledged",
        "event",
        "headers",
        "received_ms",
    )

    def __init__(
        self,
        *,
        event: E,
        record: "Raw",
        headers: dict[str, bytes],
        received_ms: float,
        outbox: "Outbox",
        on_done: "Callable[[Work[E], PoisonRecord | None], None]",
    ) -> None:
        self.event = event
        self.headers = headers
        self.received_ms = received_ms
        self._record = record
        self._outbox = outbox
        self._on_done = on_done
        self._unacknowledged = 0
        self._finished = False

    @property
    def topic(self) -> str:
        """Topic it was read from."""
        return self._record.topic

    @property
    def partition(self) -> int:
        """Partition it was read from."""
        return self._record.partition

    @property
    def offset(self) -> int:
        """Its offset."""
        return self._record.offset

    @property
    def timestamp_ms(self) -> int:
        """Kafka's timestamp of the record, unix ms."""
        return self._record.timestamp

    @property
    def value(self) -> bytes:
        """Its undecoded value."""
        return self._record.value or b""

    @property
    def raw(self) -> "Raw":
        """The record as it was delivered."""
        return self._record

    @property
    def is_finished(self) -> bool:
        """Whether ``finish`` or ``bury`` was called."""
        return self._finished

    def hop(self, request: InferenceRequested, *, now_ms: float) -> Hop:
        """This stage's hop in the journey of a request, finished now."""
        return Hop(
            service=self._outbox.service,
            topic=self._record.topic,
            partition=self._record.partition,
            offset=self._record.offset,
            received_ms=round(self.received_ms - request.accepted_at, 3),
            finished_ms=round(now_ms - request.accepted_at, 3),
        )

    async def emit(self, emit: Emit) -> None:
        """Produce a record for this one; returns when it is handed over, not acknowledged.

        This stage's hop is added to the record's ``hops`` where it has some.
        """
        if emit.request is not None and "hops" in emit.event.__struct_fields__:
            hop = self.hop(emit.request, now_ms=self._outbox.clock.now_ms())
            hops = (*emit.event.hops, hop)  # type: ignore[attr-defined]  # checked above
            emit = msgspec.structs.replace(
                emit, event=msgspec.structs.replace(emit.event, hops=hops)
            )
        self.expect_acknowledgement()
        await self._outbox.send(emit, on_acknowledged=self.acknowledged)

    def expect_acknowledgement(self) -> None:
        """Stay open until ``acknowledged`` is called once more."""
        self._unacknowledged += 1

    def acknowledged(self) -> None:
        """One emitted record is durable."""
        self._unacknowledged -= 1
        if self._finished and not self._unacknowledged:
            self._on_done(self, None)

    def finish(self) -> None:
        """Nothing more will be emitted for this record."""
        self._finished = True
        if not self._unacknowledged:
            self._on_done(self, None)

    def bury(self, poison: PoisonRecord) -> None:
        """Give the record up: it becomes a dead letter."""
        self._finished = True
        self._on_done(self, poison)


async def emit_for(works: "Sequence[Work[E]]", emit: Emit) -> None:
    """Produce one record for several; each stays open until it is acknowledged."""
    for work in works:
        work.expect_acknowledgement()

    def acknowledged() -> None:
        for work in works:
            work.acknowledged()

    await works[0]._outbox.send(emit, on_acknowledged=acknowledged)  # noqa: SLF001  # own class

