"""Writes the chunks of an answer as server-sent events, to its end."""

from collections.abc import Callable, Mapping

from services.gateway.asgi import Send, rendered_headers
from services.gateway.decide import code_of
from services.gateway.sse import (
    DONE,
    KEEP_ALIVE,
    KEEP_ALIVE_BESIDE_IDS,
    EventId,
    error_event,
    events,
    events_with_ids,
    fragments,
)
from services.gateway.waiter import Exhausted, Waiter
from services.shared.domain.errors import PublicError
from services.shared.domain.events import ChunkKind, ResultChunk

KEEP_ALIVE_S = 15.0
HEADERS_WITHIN_S = 10.0
"""A stream's headers are sent by then, output or not; errors after that come inside the stream."""

GRACE_MS = 2_000
"""How long after a deadline the stages may still say themselves that it passed."""

LATE = PublicError(
    code="deadline_exceeded",
    message="No answer came before the request's deadline. Allow it more time, or ask again later.",
)
_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)


def _nothing() -> None:
    """Nobody wants to know."""


class EventStream:
    """One answer on its way to one client."""

    def __init__(
        self, send: Send, *, with_ids: bool, after: EventId | None = None, skip: int = 0
    ) -> None:
        """Write nothing yet.

        Args:
            send: The way to the client.
            with_ids: Whether each event says where it stands.
            after: The event that the client has; the first chunk is that event's own, if it has
                more to say.
            skip: How many events the client has, where it counts them.
        """
        self._send = send
        self._with_ids = with_ids
        self._after = after
        self._skip = skip

    async def begin(self, headers: Mapping[str, str]) -> None:
        """Send the head of the answer."""
        await self._send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [*_HEADERS, *rendered_headers(headers)],
            }
        )

    async def run(
        self,
        waiter: Waiter,
        chunk: ResultChunk | None,
        *,
        remaining_s: Callable[[], float],
        on_output: Callable[[], None] = _nothing,
    ) -> str:
        """Send the events of a stream; returns the code of the error that ended it, or nothing.

        Args:
            waiter: Brings the chunks.
            chunk: The first one, where it is there already.
            remaining_s: How long the answer may still take.
            on_output: Called at the first output.

        Raises:
            Abandoned: The client left.
            ClientGone: The client left.
        """
        has_output = False
        while True:
            if chunk is not None:
                is_last = chunk.kind != ChunkKind.DELTA
                if chunk.kind != ChunkKind.ERROR and not has_output:
                    has_output = True
                    on_output()
                await self._write(self._rendered(waiter.at, chunk), more=not is_last)
                if is_last:
                    return code_of(chunk)
            try:
                chunk = await waiter.next(timeout_s=min(KEEP_ALIVE_S, remaining_s()))
            except TimeoutError:
                chunk = None
                if remaining_s() <= 0:
                    await self._write(error_event(LATE), more=False)
                    return LATE.code
                await self._write(
                    KEEP_ALIVE_BESIDE_IDS if self._with_ids else KEEP_ALIVE, more=True
                )
            except Exhausted:
                await self._write(b"", more=False)
                return ""

    def _rendered(self, at: EventId | None, chunk: ResultChunk) -> bytes:
        is_end = chunk.kind == ChunkKind.END
        if at is None or not self._with_ids:
            return events(chunk.payload) + (DONE if is_end else b"")
        seen = -1
        if self._skip:
            count = len(fragments(chunk.payload, is_end=is_end))
            seen = min(self._skip, count) - 1
            self._skip -= seen + 1
        elif self._after is not None:
            after, self._after = self._after, None
            if (after.partition, after.offset) == (at.partition, at.offset):
                seen = -1 if after.fragment is None else after.fragment
        return events_with_ids(chunk.payload, at, after=seen, is_end=is_end)

    async def _write(self, body: bytes, *, more: bool) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": more})
