"""Idempotency without Kafka: a book of claims and chunks of all requests, shared by gateways."""

from prometheus_client import CollectorRegistry

from services.gateway.idempotency import Idempotency, IdempotencyMetrics, Streams
from services.gateway.waiter import Waiter
from services.shared.domain.claims import Claims, Holder
from services.shared.domain.errors import Unavailable
from services.shared.domain.events import IdempotencyClaimed, ResultChunk
from services.shared.ports.claim_book import ClaimBook
from services.shared.ports.clock import Clock
from services.shared.ports.record_finder import RecordFinder
from services.shared.ports.request_publisher import RequestPublisher

STREAMS_KEPT_MS = 30 * 60 * 1000


class FakeBook:
    """A log of claims that every gateway has read to its end.

    Attributes:
        claimed: What was claimed.
        is_away: Whether the log answers no more.
        is_full: Whether no more keys are to be claimed.
        rival: Who is always quicker.
    """

    def __init__(self, clock: Clock) -> None:
        """Begin with an empty log."""
        self.claimed: list[IdempotencyClaimed] = []
        self.is_away = False
        self.is_full = False
        self.rival: Holder | None = None
        self._clock = clock
        self._claims = Claims()

    def find(self, key_hash: str) -> Holder | None:
        """Who holds a key."""
        if self.is_away:
            raise Unavailable("kafka", "the test says so")
        return self._claims.find(key_hash, now_ms=self._clock.now_ms())

    async def claim(self, claim: IdempotencyClaimed) -> Holder:
        """Record a claim."""
        if self.is_away:
            raise Unavailable("kafka", "the test says so")
        self.claimed.append(claim)
        return self.rival or self._claims.apply(claim, at_ms=int(self._clock.now_ms()))


class FakeStreams:
    """Chunks of all requests, as any gateway may read them.

    Attributes:
        attached: Who waits for which request.
        retention_ms: How long they can be read.
    """

    retention_ms = STREAMS_KEPT_MS

    def __init__(self) -> None:
        """Begin with an empty log."""
        self.attached: list[tuple[str, Waiter]] = []
        self._chunks: list[ResultChunk] = []

    def attach(self, request_id: str) -> Waiter:
        """Get what there is of a request, and what will come."""
        waiter = Waiter()
        for chunk in self._chunks:
            if chunk.request_id == request_id:
                waiter.put(chunk)
        self.attached.append((request_id, waiter))
        return waiter

    def detach(self, waiter: Waiter) -> None:
        """Get no more."""
        self.attached = [(of, each) for of, each in self.attached if each is not waiter]
        waiter.abandon()

    async def has_chunks(self, request_id: str) -> bool:
        """Whether there are any."""
        return any(chunk.request_id == request_id for chunk in self._chunks)

    def deliver(self, *chunks: ResultChunk) -> None:
        """Let chunks arrive."""
        for chunk in chunks:
            self._chunks.append(chunk)
            for request_id, waiter in self.attached:
                if request_id == chunk.request_id:
                    waiter.put(chunk)

    def forget(self) -> None:
        """Let the retention of the chunks pass."""
        self._chunks.clear()


def idempotency_of(
    *,
    book: ClaimBook,
    finder: RecordFinder,
    publisher: RequestPublisher,
    clock: Clock,
    streams: Streams | None = None,
) -> Idempotency:
    """What a gateway does about keys."""
    return Idempotency(
        book=book,
        streams=streams or FakeStreams(),
        finder=finder,
        publisher=publisher,
        clock=clock,
        metrics=IdempotencyMetrics(CollectorRegistry(), keys_held=lambda: 0),
    )
