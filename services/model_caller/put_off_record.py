"""A record of a retry topic, as a batch of one."""

from collections.abc import Awaitable
from typing import cast

from services.model_caller.put_off import batch_of_one
from services.shared.domain.emit import Emit
from services.shared.domain.errors import PoisonRecord
from services.shared.domain.events import Hop, InferenceRequested, RequestBatch, RequestRouted
from services.shared.ports.work import OpenRecord, Written


class PutOffRecord:
    """An ``OpenRecord`` of a batch, around that of its only member."""

    def __init__(self, work: OpenRecord[RequestRouted]) -> None:
        """Wrap it."""
        self._work = work
        self.event = batch_of_one(work.event)

    @property
    def headers(self) -> dict[str, bytes]:
        """Its headers."""
        return self._work.headers

    @property
    def value(self) -> bytes:
        """Its undecoded value."""
        return self._work.value

    @property
    def topic(self) -> str:
        """Topic it was read from."""
        return self._work.topic

    @property
    def partition(self) -> int:
        """Partition it was read from."""
        return self._work.partition

    @property
    def timestamp_ms(self) -> int:
        """Kafka's timestamp of the record, unix ms."""
        return self._work.timestamp_ms

    def hop(self, request: InferenceRequested, *, now_ms: float) -> Hop:
        """See ``OpenRecord``."""
        return self._work.hop(request, now_ms=now_ms)

    async def emit(self, emit: Emit) -> Awaitable[Written]:
        """See ``OpenRecord``."""
        return await self._work.emit(emit)

    def finish(self) -> None:
        """See ``OpenRecord``."""
        self._work.finish()

    def bury(self, poison: PoisonRecord) -> None:
        """See ``OpenRecord``."""
        self._work.bury(poison)


def as_batch(
    work: OpenRecord[RequestBatch | RequestRouted],
) -> OpenRecord[RequestBatch]:
    """A record of a batch as it is; one of a retry topic as a batch of one."""
    if isinstance(work.event, RequestBatch):
        return cast("OpenRecord[RequestBatch]", work)
    return PutOffRecord(cast("OpenRecord[RequestRouted]", work))
