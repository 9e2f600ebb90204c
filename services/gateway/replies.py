"""Waiting requests and the chunks that come for them."""

from services.gateway.feed import put_record
from services.gateway.waiter import Lead, Waiter
from services.shared.domain.errors import PublicError
from services.shared.ports.chunk_cursors import ChunkRecord


class Replies:
    """All requests that wait in this process."""

    def __init__(self, *, lead: Lead | None = None) -> None:
        """Start with none.

        Args:
            lead: Brings the chunks of another request where one joined it.
        """
        self._waiting: dict[bytes | None, Waiter] = {}
        self._lead = lead

    @property
    def count(self) -> int:
        """Requests that wait."""
        return len(self._waiting)

    def expect(self, request_id: str) -> Waiter:
        """Wait for the chunks of a request, from now on."""
        waiter = self._waiting[request_id.encode()] = Waiter(lead=self._lead)
        return waiter

    def forget(self, request_id: str) -> None:
        """Wait no longer."""
        waiter = self._waiting.pop(request_id.encode(), None)
        if waiter is not None:
            waiter.abandon()

    def deliver(self, record: ChunkRecord) -> None:
        """Take a record of the reply partition; those of other instances' requests are passed."""
        waiter = self._waiting.get(record.key)
        if waiter is not None:
            put_record(waiter, record)

    def end_all(self, error: PublicError) -> None:
        """End every wait, e.g. because the process stops."""
        for waiter in self._waiting.values():
            waiter.end(error)
