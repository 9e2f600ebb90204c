"""A record in work, as a processor sees it; the runtime's ``Work`` is the real one."""

from collections.abc import Awaitable
from typing import Protocol, TypeVar

from services.shared.domain.emit import Emit
from services.shared.domain.errors import PoisonRecord
from services.shared.domain.events import Event, Hop, InferenceRequested

E_co = TypeVar("E_co", bound=Event, covariant=True)


class Written(Protocol):
    """Where a record was written."""

    @property
    def offset(self) -> int:
        """Its offset."""
        ...


class OpenRecord(Protocol[E_co]):
    """An open record: its offset is not committed before all that it caused is durable."""

    @property
    def event(self) -> E_co:
        """The decoded record."""
        ...

    @property
    def headers(self) -> dict[str, bytes]:
        """Its headers."""
        ...

    @property
    def value(self) -> bytes:
        """Its undecoded value."""
        ...

    @property
    def topic(self) -> str:
        """Topic it was read from."""
        ...

    @property
    def partition(self) -> int:
        """Partition it was read from."""
        ...

    @property
    def timestamp_ms(self) -> int:
        """Kafka's timestamp of the record, unix ms."""
        ...

    def hop(self, request: InferenceRequested, *, now_ms: float) -> Hop:
        """This stage's hop in the journey of a request, finished now (unix ms)."""
        ...

    async def emit(self, emit: Emit) -> Awaitable[Written]:
        """Produce a record for this one, with this stage's hop added where it has hops.

        What is returned may be awaited for the acknowledgement. Whoever awaits it must not be
        cancelled meanwhile.
        """
        ...

    def finish(self) -> None:
        """Nothing more will be emitted for this record."""
        ...

    def bury(self, poison: PoisonRecord) -> None:
        """Give the record up: it becomes a dead letter."""
        ...
