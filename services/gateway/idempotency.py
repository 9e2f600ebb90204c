"""``Idempotency-Key``: one key, one request, one answer, on every gateway.

A key is claimed by a record; the first claim in the log's order holds it for 24 hours, and its
request runs. Every other request with the key is answered from that one: from its chunks, which
every gateway can read from the first on, and once they are gone from its terminal record.

A holder that died between its claim and its request leaves a key without an answer. Whoever waits
on it publishes the request again **under the id of the claim**. So when the first one was only
late, the pipeline meets the same request twice, as after any crash, and pays for it once; a new
request in its place would be paid for as well.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge

from services.gateway.attached import Attached
from services.gateway.claims import Others, Own, frees_key, says_no_effect, standing
from services.gateway.waiter import Waiter
from services.shared.domain.claims import Holder, claim_fingerprint, key_hash
from services.shared.domain.errors import PublicError, Unavailable
from services.shared.domain.events import IdempotencyClaimed, InferenceFinished, InferenceRequested
from services.shared.domain.ids import origin_from_request_id
from services.shared.ports.claim_book import ClaimBook
from services.shared.ports.clock import Clock
from services.shared.ports.record_finder import RecordFinder
from services.shared.ports.request_publisher import RequestPublisher

MS_PER_S = 1000
APPEARS_WITHIN_MS = 10_000
"""A request whose claim is older than that and of which nothing is seen is published again."""

RUNS_FOR_MS = 25 * 60 * MS_PER_S
"""So long after its claim a request may run, and is followed even where streams expire sooner."""

FIRST_CHUNK_S = 2.0
"""How long it is looked whether an answer that is there already frees its key."""

LOOK_EVERY_S = 2.0
PUBLISH_EVERY_S = 600.0
"""A request is published again by one process at most so often, however many wait for it."""

_TURNS = 3
_RETRY_MS = 2_000
_UNRECORDED = PublicError(
    code="upstream_unavailable",
    message="The 'Idempotency-Key' could not be recorded. Try again with it in a moment.",
    retry_after_ms=_RETRY_MS,
)
_FULL = PublicError(
    code="server_is_overloaded",
    message="No more 'Idempotency-Key's can be held now. Try again later, or without one.",
    retry_after_ms=60_000,
)


class Streams(Protocol):
    """Chunks of any request, from its first on."""

    @property
    def retention_ms(self) -> float:
        """How long after its first chunk a stream can be attached to."""
        ...

    def attach(self, request_id: str) -> Waiter:
        """Wait for all chunks of a request."""
        ...

    def detach(self, waiter: Waiter) -> None:
        """Wait no longer."""
        ...

    async def has_chunks(self, request_id: str) -> bool:
        """Whether there are any now; waits until the log can be read."""
        ...


class IdempotencyMetrics:
    """What became of requests with a key."""

    def __init__(self, registry: CollectorRegistry, *, keys_held: Callable[[], float]) -> None:
        """Register the metrics.

        Args:
            registry: Where to.
            keys_held: Says how many keys this process knows the holders of.
        """
        held = Gauge(
            "millrace_idempotency_keys_held",
            "Idempotency keys whose holders are known.",
            registry=registry,
        )
        held.set_function(keys_held)
        self.requests = Counter(
            "millrace_idempotent_requests",
            "Requests with an Idempotency-Key by what became of them: claimed, replayed or an "
            "error code.",
            ("outcome",),
            registry=registry,
        )
        self.published_again = Counter(
            "millrace_idempotent_requests_published_again",
            "Requests of which nothing was seen after their claim.",
            registry=registry,
        )


class Idempotency:
    """Decides for each request with a key whether it runs or is answered from another one."""

    def __init__(  # noqa: PLR0913  # claims, answers and requests meet here
        self,
        *,
        book: ClaimBook,
        streams: Streams,
        finder: RecordFinder,
        publisher: RequestPublisher,
        clock: Clock,
        metrics: IdempotencyMetrics,
    ) -> None:
        """Use the book of claims, the answers and the way into the pipeline."""
        self._book = book
        self._streams = streams
        self._finder = finder
        self._publisher = publisher
        self._clock = clock
        self._metrics = metrics
        self._searches: dict[str, asyncio.Task[InferenceFinished | None]] = {}
        self._published_again: set[str] = set()

    async def stand(
        self, requested: InferenceRequested, key: str, *, arrived_ms: float
    ) -> Own | Attached | PublicError:
        """Claim a key, or attach to the request that holds it.

        Args:
            requested: The accepted request.
            key: What it was sent with.
            arrived_ms: When it arrived, unix ms.
        """
        claim = IdempotencyClaimed(
            tenant=requested.tenant,
            key_hash=key_hash(requested.tenant, key),
            fingerprint=claim_fingerprint(requested.operation, requested.body),
            request_id=requested.request_id,
            at=int(self._clock.now_ms()),
        )
        try:
            decided = await self._decide(requested, claim, arrived_ms)
        except Unavailable:
            decided = _UNRECORDED
        outcome = decided.code if isinstance(decided, PublicError) else _OUTCOMES[type(decided)]
        self._metrics.requests.labels(outcome).inc()
        return decided

    async def _decide(
        self, requested: InferenceRequested, claim: IdempotencyClaimed, arrived_ms: float
    ) -> Own | Attached | PublicError:
        holder = self._book.find(claim.key_hash)
        if holder is None:
            if self._book.is_full:
                return _FULL
            holder = await self._book.claim(claim)
        for _ in range(_TURNS):
            decided = standing(holder, claim)
            if not isinstance(decided, Others):
                return decided
            attached = await self._attach(
                _under_id(requested, holder.request_id), holder, arrived_ms
            )
            if attached is not None:
                return attached
            again = msgspec.structs.replace(claim, takes_over=holder.request_id)
            holder = await self._book.claim(again)
        return _UNRECORDED  # others were quicker, time and again

    async def _attach(
        self, request: InferenceRequested, holder: Holder, arrived_ms: float
    ) -> Attached | None:
        """Attach to a request; None = it ended without effect, and its key is free."""
        age_ms = self._clock.now_ms() - holder.claimed_at
        if age_ms < max(RUNS_FOR_MS, self._streams.retention_ms):
            attached = await self._follow(request, holder)
            if attached is not None:
                return attached
        finished = await self._finder.find_terminal(request.request_id)
        if finished is not None and frees_key(finished, asked_again_ms=arrived_ms):
            return None
        attached = Attached(request, Waiter(), release=Waiter.abandon)
        if finished is not None:
            attached.answer(finished)
        else:
            attached.watch = asyncio.create_task(self._await_terminal(attached))
        return attached

    async def _follow(self, request: InferenceRequested, holder: Holder) -> Attached | None:
        """Follow the chunks of a request; None = they say nothing that its terminal does not."""
        waiter = self._streams.attach(request.request_id)
        attached = Attached(request, waiter, release=self._streams.detach)
        try:
            first = await waiter.peek(timeout_s=FIRST_CHUNK_S)
        except TimeoutError:
            attached.watch = asyncio.create_task(self._await_first_chunk(attached, holder))
            return attached
        except BaseException:
            attached.release()
            raise
        if says_no_effect(first):
            attached.release()
            return None
        return attached

    async def _await_first_chunk(self, attached: Attached, holder: Holder) -> None:
        """Publish a request again of which nothing is seen in time."""
        age_ms = self._clock.now_ms() - holder.claimed_at
        wait_ms = min(max(0.0, APPEARS_WITHIN_MS - age_ms), APPEARS_WITHIN_MS)
        await asyncio.sleep(wait_ms / MS_PER_S)
        if attached.waiter.has_begun:
            return
        finished = await self._search_for(attached)
        # After an outage a terminal record may be found before the readers of chunks are back. A
        # stream made of it would be cut in other places than the one that was seen first.
        if finished is not None and not await self._streams.has_chunks(attached.request.request_id):
            attached.answer(finished)

    async def _await_terminal(self, attached: Attached) -> None:
        """Look for the end of a request whose chunks are not, or no longer, there to follow."""
        while not attached.waiter.has_begun:
            finished = await self._search_for(attached)
            if finished is not None:
                attached.answer(finished)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _search_for(self, attached: Attached) -> InferenceFinished | None:
        try:
            return await self._search(attached.request)
        except Unavailable:
            attached.end(_UNRECORDED)
            return None

    async def _search(self, request: InferenceRequested) -> InferenceFinished | None:
        """Search once for all who wait at the same time."""
        request_id = request.request_id
        search = self._searches.get(request_id)
        if search is None:
            search = asyncio.create_task(self._search_or_publish(request))
            self._searches[request_id] = search
            search.add_done_callback(lambda done: self._end_search(request_id, done))
        return await asyncio.shield(search)

    def _end_search(
        self, request_id: str, search: "asyncio.Task[InferenceFinished | None]"
    ) -> None:
        del self._searches[request_id]
        if not search.cancelled():
            search.exception()  # whoever waits for it is told; nobody may

    async def _search_or_publish(self, request: InferenceRequested) -> InferenceFinished | None:
        request_id = request.request_id
        finished = await self._finder.find_terminal(request_id)
        if finished is not None or request_id in self._published_again:
            return finished
        if await self._finder.find_miss(request_id) is None:
            await self._publisher.publish(request)
            self._metrics.published_again.inc()
            self._published_again.add(request_id)
            loop = asyncio.get_running_loop()
            loop.call_later(PUBLISH_EVERY_S, self._published_again.discard, request_id)
        return None


def _under_id(requested: InferenceRequested, request_id: str) -> InferenceRequested:
    """The same request as the one that runs under another id."""
    origin = origin_from_request_id(request_id)
    partition = requested.reply_partition if origin is None else origin.reply_partition
    return msgspec.structs.replace(requested, request_id=request_id, reply_partition=partition)


_OUTCOMES = {Own: "claimed", Attached: "replayed"}
