"""``GET /v1/requests/{id}/events``: the events of a streamed request, on any instance."""

import asyncio
from collections import Counter

from services.gateway.asgi import Request, Send, rendered_headers, send_error, send_whole
from services.gateway.decide import authenticate, code_of, read_cursor
from services.gateway.desk import MS_PER_S, Desk
from services.gateway.event_stream import (
    GRACE_MS,
    HEADERS_WITHIN_S,
    KEEP_ALIVE_S,
    EventStream,
)
from services.gateway.front_door.exchange import ClientGone
from services.gateway.own_requests import AWAY, UNKNOWN, OwnRequests
from services.gateway.sse import EventId
from services.gateway.streams import expired
from services.gateway.waiter import Abandoned, Exhausted, Facts, Waiter
from services.shared.domain.configuration import VirtualKey
from services.shared.domain.errors import PublicError
from services.shared.domain.events import ChunkKind, InferenceFinished, ResultChunk

MAX_STREAMS_PER_KEY = 1_000
"""Followed at once on one instance; each has a connection anyway."""

ENDED_WITHIN_S = 2.0
"""How long chunks may take to come here that were there before the end of their request was."""

_OPERATION = "events"
_GONE = (499, "client_gone")
_TOO_MANY = PublicError(
    code="rate_limit_exceeded",
    message=(
        f"This key follows {MAX_STREAMS_PER_KEY} streams already. Close some, or come again when "
        "some have ended."
    ),
    retry_after_ms=1000,
)


class EventsApi:
    """Follows the streams of the caller's own tenant."""

    def __init__(self, desk: Desk, own: OwnRequests) -> None:
        """Use a desk."""
        self._desk = desk
        self._own = own
        self._open: Counter[str] = Counter()

    async def get(self, request: Request, send: Send) -> None:
        """Send the events from the first, or from the one after those that the client has."""
        key = authenticate(request.all_of(b"authorization"), self._desk.keys)
        if isinstance(key, PublicError):
            await self._refuse(request, send, key)
            return
        query: bytes = request.scope.get("query_string", b"")
        cursor = read_cursor(request.header(b"last-event-id"), query.decode("latin-1"))
        if isinstance(cursor, PublicError):
            await self._refuse(request, send, cursor)
            return
        if self._open[key.id] >= MAX_STREAMS_PER_KEY:
            await self._refuse(request, send, _TOO_MANY)
            return
        self._open[key.id] += 1
        try:
            await self._answer(request, send, key, cursor)
        except (Abandoned, ClientGone):
            self._count(*_GONE)
        finally:
            self._open[key.id] -= 1

    async def _answer(
        self, request: Request, send: Send, key: VirtualKey, cursor: EventId | int
    ) -> None:
        request_id = request.parameters[0]
        if not self._desk.streams.can_find(request_id):
            found = await self._own.find(request_id, key.tenant)
            error = found if isinstance(found, PublicError) else _not_streamed(request_id)
            await self._refuse(request, send, error)
            return
        after = cursor if isinstance(cursor, EventId) else None
        waiter = self._desk.streams.attach(request_id, after=after)
        if request.exchange is not None:
            request.exchange.on_gone = waiter.abandon
        try:
            await self._follow(request, send, key, _Reading(waiter, cursor))
        finally:
            self._desk.streams.detach(waiter)

    async def _follow(
        self, request: Request, send: Send, key: VirtualKey, reading: "_Reading"
    ) -> None:
        request_id, waiter = request.parameters[0], reading.waiter
        facts = await self._facts(waiter, request_id, key.tenant)
        if isinstance(facts, PublicError):
            await self._refuse(request, send, facts)
            return
        has_ended = facts is _ENDED
        try:
            chunk = await waiter.next(timeout_s=ENDED_WITHIN_S if has_ended else HEADERS_WITHIN_S)
        except (TimeoutError, Exhausted) as reason:
            if has_ended and isinstance(reason, TimeoutError):
                await self._refuse(request, send, await self._gone(request_id))
                return
            chunk = None
        if chunk is not None and reading.is_error_of_all(chunk):
            await self._send_error_chunk(request, send, chunk)
            return
        deadline_at = (waiter.facts or facts).deadline_at

        def remaining_s() -> float:
            if not waiter.is_live:
                return KEEP_ALIVE_S
            left_ms = deadline_at + GRACE_MS - self._desk.clock.now_ms()
            return max(0.0, left_ms / MS_PER_S)

        events = EventStream(send, with_ids=True, after=reading.after, skip=reading.skip)
        headers = chunk.headers if chunk is not None else {}
        await events.begin({"x-request-id": request.id, **headers})
        self._count(200, await events.run(waiter, chunk, remaining_s=remaining_s))

    async def _facts(self, waiter: Waiter, request_id: str, tenant: str) -> Facts | PublicError:
        """Whose the stream is and whether it is one; for strangers there is none.

        The first chunk says it. Where there is none, what came of the request says it.
        """
        try:
            facts = await waiter.known(timeout_s=HEADERS_WITHIN_S)
        except TimeoutError:
            return AWAY
        if facts is None:
            found = await self._own.find(request_id, tenant)
            if isinstance(found, PublicError):
                return found
            if isinstance(found, InferenceFinished):
                return _ENDED if found.stream else _not_streamed(request_id)
            asked = found.request
            facts = Facts(asked.tenant, asked.deadline_at, asked.stream)
        if facts.tenant != tenant:
            return UNKNOWN
        return facts if facts.is_streamed else _not_streamed(request_id)

    async def _gone(self, request_id: str) -> PublicError:
        """Why nothing of an ended stream has come; its readers may be behind, e.g. after an outage.

        Only the log itself can say that there is no more.
        """
        try:
            async with asyncio.timeout(HEADERS_WITHIN_S):
                is_kept = await self._desk.streams.has_chunks(request_id)
        except TimeoutError:
            return AWAY
        return AWAY if is_kept else expired(request_id)

    async def _send_error_chunk(self, request: Request, send: Send, chunk: ResultChunk) -> None:
        """Nothing of the stream was or will be sent: its error is an ordinary error answer."""
        code = code_of(chunk)
        self._count(chunk.status, code)
        headers = {"x-request-id": request.id, **_location(request, code), **chunk.headers}
        await send_whole(
            send, chunk.payload, status=chunk.status, headers=rendered_headers(headers)
        )

    async def _refuse(self, request: Request, send: Send, error: PublicError) -> None:
        self._count(error.meaning.status, error.code)
        await send_error(send, error, request_id=request.id, headers=_location(request, error.code))

    def _count(self, status: int, code: str) -> None:
        self._desk.metrics.answers.labels(_OPERATION, status, code).inc()


_ENDED = Facts(tenant="", deadline_at=0, is_streamed=True)
"""The request has ended; what its chunks say is still to be seen."""


class _Reading:
    """A waiter and what its reader has already."""

    def __init__(self, waiter: Waiter, cursor: EventId | int) -> None:
        self.waiter = waiter
        self.after = cursor if isinstance(cursor, EventId) else None
        self.skip = cursor if isinstance(cursor, int) else 0

    def is_error_of_all(self, chunk: ResultChunk) -> bool:
        """Whether the chunk is an error that no reader has got events before."""
        if chunk.kind != ChunkKind.ERROR:
            return False
        return self.waiter.at is None or (self.after is None and self.skip == 0)


def _not_streamed(request_id: str) -> PublicError:
    return PublicError(
        code="unsupported_value",
        message=(
            "The request asked for no stream, so it has no events. "
            f"GET /v1/requests/{request_id} gives its state and its answer."
        ),
        param="id",
    )


def _location(request: Request, code: str) -> dict[str, str]:
    """Where the answer is to be had when its events no longer are."""
    return {"location": f"/v1/requests/{request.parameters[0]}"} if code == "stream_expired" else {}
