"""Follows the streams of any requests, from their first chunk on, on any instance."""

from services.gateway.feed import Feed, Follower
from services.gateway.sse import EventId
from services.gateway.waiter import CUT, Waiter
from services.shared.domain.errors import PublicError
from services.shared.domain.ids import NO_REPLY, RequestOrigin, origin_from_request_id
from services.shared.ports.chunk_cursors import ChunkCursors, ChunkRecord
from services.shared.ports.clock import Clock

CLOCK_SKEW_MS = 10_000
"""By how much a gateway's clock may be ahead of the broker's."""


def expired(request_id: str) -> PublicError:
    """The chunks of a request are no longer kept."""
    return PublicError(
        code="stream_expired",
        message=(
            "The stream is no longer kept. What became of the request, and its whole answer: "
            f"GET /v1/requests/{request_id}"
        ),
        param="id",
    )


class Streams:
    """All requests that are followed in this process, whoever they were asked by.

    Attributes:
        retention_ms: How long after its first chunk a stream can be attached to.
    """

    def __init__(
        self,
        log: ChunkCursors,
        *,
        own_partition: int,
        live_from: int,
        clock: Clock,
        retention_ms: float,
    ) -> None:
        """Follow none.

        Args:
            log: Where chunks are.
            own_partition: The partition whose new records come by ``deliver``.
            live_from: The offset from which on they do.
            clock: The time.
            retention_ms: How long after its first chunk a stream can be attached to.
        """
        self._log = log
        self._own_partition = own_partition
        self._clock = clock
        self.retention_ms = retention_ms
        self._feeds = {own_partition: Feed(log, own_partition, live_from=live_from)}
        self._attached: dict[Waiter, Follower | None] = {}
        self._leaders: dict[Waiter, Follower] = {}

    @property
    def count(self) -> int:
        """Streams that are followed."""
        return len(self._attached)

    def can_find(self, request_id: str) -> bool:
        """Whether the id names a place where chunks may be."""
        origin = origin_from_request_id(request_id)
        return origin is not None and self._is_place(origin)

    def attach(self, request_id: str, *, after: EventId | None = None) -> Waiter:
        """Get the chunks of a request: all that there are, then new ones.

        Args:
            request_id: The request; one that ``can_find`` knows nothing of ends with an error.
            after: Leave out what came before this event. An event of another stream ends the
                waiter with ``invalid_cursor``, a stream that began too long ago with
                ``stream_expired``.
        """
        waiter = Waiter(lead=self.lead, after=after, if_gone=expired(request_id))
        self._attached[waiter] = self._follow(waiter, request_id, is_leader=False)
        return waiter

    def detach(self, waiter: Waiter) -> None:
        """Get no more."""
        follower = self._attached.pop(waiter, None)
        if follower is not None:
            follower.leave()
        waiter.abandon()

    async def has_chunks(self, request_id: str) -> bool:
        """Whether the log, read to the end that it has now, says anything of a request.

        A broker that is away is waited for. Those who follow the request may not have come so far.
        """
        waiter = self.attach(request_id)
        try:
            await waiter.known(timeout_s=None)
            return waiter.has_begun
        finally:
            self.detach(waiter)

    def lead(self, waiter: Waiter, leader: str) -> None:
        """Bring a waiter the chunks of the request that its own has joined; empty = no longer."""
        former = self._leaders.pop(waiter, None)
        if former is not None:
            former.leave()
        if leader:
            follower = self._follow(waiter, leader, is_leader=True)
            if follower is not None:
                self._leaders[waiter] = follower

    def deliver(self, record: ChunkRecord) -> None:
        """Take the next new record of the own partition."""
        self._feeds[self._own_partition].deliver(record)

    def end_all(self, error: PublicError) -> None:
        """End every stream, e.g. because the process stops."""
        for waiter in self._attached:
            waiter.end(error)

    async def close(self) -> None:
        """Read no more."""
        for feed in self._feeds.values():
            await feed.close()

    def _follow(self, waiter: Waiter, request_id: str, *, is_leader: bool) -> Follower | None:
        origin = origin_from_request_id(request_id)
        if origin is None or not self._is_place(origin):
            waiter.end(CUT)
            return None
        from_ms = max(0, origin.accepted_at_ms - CLOCK_SKEW_MS)
        follower = Follower(
            waiter,
            request_id,
            from_ms=from_ms,
            is_leader=is_leader,
            kept_since_ms=self._clock.now_ms() - self.retention_ms,
        )
        self._feed_of(origin.reply_partition).follow(follower)
        return follower

    def _is_place(self, origin: RequestOrigin) -> bool:
        return NO_REPLY < origin.reply_partition < self._log.partition_count

    def _feed_of(self, partition: int) -> Feed:
        if partition not in self._feeds:
            self._feeds[partition] = Feed(self._log, partition)
        return self._feeds[partition]
