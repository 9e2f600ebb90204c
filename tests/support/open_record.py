"""A record in work, without the runtime around it."""

import asyncio
from collections.abc import Awaitable
from typing import Generic, NamedTuple, TypeVar

from services.shared.codec.records import encode_record
from services.shared.domain.emit import Emit
from services.shared.domain.errors import PoisonRecord
from services.shared.domain.events import Event, Hop, InferenceRequested
from services.shared.ports.work import Written
from tests.support.fake_clock import START_MS

E = TypeVar("E", bound=Event)


class _Place(NamedTuple):
    """Where a record was written."""

    offset: int


def written_at(offset: int) -> "asyncio.Future[Written]":
    """The acknowledgement of a record."""
    written: asyncio.Future[Written] = asyncio.get_running_loop().create_future()
    written.set_result(_Place(offset))
    return written


class RecordInWork(Generic[E]):
    """An ``OpenRecord``.

    Attributes:
        emitted: What was produced for it.
        failing: Raised at the next ``emit``.
        buried: Why it was given up, if it was.
        ended: Set when it was finished or given up.
    """

    def __init__(
        self,
        event: E,
        *,
        headers: dict[str, bytes] | None = None,
        topic: str = "a-topic",
        partition: int = 0,
        timestamp_ms: int = int(START_MS),
    ) -> None:
        """Take it into work."""
        self.event = event
        self.headers = headers or {}
        self.topic = topic
        self.partition = partition
        self.timestamp_ms = timestamp_ms
        self.emitted: list[Emit] = []
        self.failing: Exception | None = None
        self.buried: PoisonRecord | None = None
        self.ended = asyncio.Event()

    @property
    def value(self) -> bytes:
        """Its bytes."""
        return encode_record(self.event)

    def hop(self, request: InferenceRequested, *, now_ms: float) -> Hop:
        """A hop through a stage under test."""
        del request
        return Hop(service="under-test", partition=self.partition, finished_ms=now_ms - START_MS)

    async def emit(self, emit: Emit) -> Awaitable[Written]:
        """Keep what is produced; it must be encodable, as it is in the runtime."""
        assert not self.ended.is_set(), "emitted after the end"
        await asyncio.sleep(0)
        if self.failing is not None:
            raise self.failing
        encode_record(emit.event)
        self.emitted.append(emit)
        return written_at(len(self.emitted) - 1)

    def finish(self) -> None:
        """End well."""
        assert not self.ended.is_set(), "ended twice"
        self.ended.set()

    def bury(self, poison: PoisonRecord) -> None:
        """End as a dead letter."""
        assert not self.ended.is_set(), "ended twice"
        self.buried = poison
        self.ended.set()
