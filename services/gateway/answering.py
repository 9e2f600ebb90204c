"""From an accepted request to the end of its answer: publish, wait, answer."""

import msgspec

from services.gateway.asgi import Request, Send, rendered_headers, send_error, send_whole
from services.gateway.claims import REPLAYED_HEADER
from services.gateway.desk import MS_PER_S, Desk
from services.gateway.front_door.exchange import ClientGone
from services.gateway.replies import Abandoned, Waiter
from services.gateway.sse import DONE, KEEP_ALIVE, error_event, events
from services.shared.domain.errors import PublicError, Unavailable
from services.shared.domain.events import ChunkKind, InferenceRequested, ResultChunk

KEEP_ALIVE_S = 15.0
HEADERS_WITHIN_S = 10.0
"""A stream's headers are sent by then, output or not; errors after that come inside the stream."""

GRACE_MS = 2_000
"""How long after a deadline the stages may still say themselves that it passed."""

KAFKA_RETRY_MS = 2_000
_GONE = (499, "client_gone")  # a status for counting only: nobody is left to send it to
_LATE = PublicError(
    code="deadline_exceeded",
    message="No answer came before the request's deadline. Allow it more time, or ask again later.",
)
_UNRECORDED = PublicError(
    code="upstream_unavailable",
    message="The request could not be recorded. Try again in a moment.",
    retry_after_ms=KAFKA_RETRY_MS,
)
_STREAM_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)


class Answering:
    """One accepted request."""

    def __init__(
        self,
        request: Request,
        send: Send,
        desk: Desk,
        requested: InferenceRequested,
        started_ms: float,
    ) -> None:
        """Prepare; ``run`` does it.

        Args:
            request: The HTTP request.
            send: The way back to the client.
            desk: What answering takes.
            requested: The record of the request.
            started_ms: When its head had arrived, unix ms.
        """
        self._request = request
        self._send = send
        self._desk = desk
        self._requested = requested
        self._started_ms = started_ms
        self._is_replayed = False

    async def run(self) -> None:
        """Publish, wait, answer; ends at once when the client leaves, the pipeline goes on."""
        request_id = self._requested.request_id
        exchange = self._request.exchange
        if exchange is not None and exchange.is_gone:
            return
        waiter = self._desk.replies.expect(request_id)
        if exchange is not None:
            exchange.on_gone = waiter.abandon
        try:
            await self._ask(waiter)
        except (Abandoned, ClientGone):
            self._count(*_GONE)
        finally:
            self._desk.replies.forget(request_id)

    async def run_attached(self, waiter: Waiter) -> None:
        """Answer with what another request is answered; ends at once when the client leaves."""
        self._is_replayed = True
        exchange = self._request.exchange
        if exchange is not None:
            if exchange.is_gone:
                return
            exchange.on_gone = waiter.abandon
        try:
            await self._answer(waiter)
        except (Abandoned, ClientGone):
            self._count(*_GONE)

    async def _ask(self, waiter: Waiter) -> None:
        try:
            await self._desk.publisher.publish(self._requested)
        except Unavailable:
            await self._refuse(_UNRECORDED)
            return
        await self._answer(waiter)

    async def _answer(self, waiter: Waiter) -> None:
        if self._requested.stream:
            await self._stream(waiter)
        else:
            await self._whole(waiter)

    async def _whole(self, waiter: Waiter) -> None:
        try:
            chunk = await waiter.next(timeout_s=self._remaining_s())
        except TimeoutError:
            await self._refuse(_LATE)
        else:
            await self._send_document(chunk)

    async def _refuse(self, error: PublicError) -> None:
        self._count(error.meaning.status, error.code)
        await send_error(self._send, error, request_id=self._requested.request_id)

    async def _send_document(self, chunk: ResultChunk) -> None:
        self._count(chunk.status, _code_of(chunk))
        await send_whole(
            self._send,
            chunk.payload,
            status=chunk.status,
            headers=rendered_headers(self._headers(chunk)),
        )

    async def _stream(self, waiter: Waiter) -> None:
        try:
            chunk = await waiter.next(timeout_s=min(HEADERS_WITHIN_S, self._remaining_s()))
        except TimeoutError:
            chunk = None
        if chunk is not None and chunk.kind == ChunkKind.ERROR:
            await self._send_document(chunk)  # nothing was sent yet: an ordinary error answer
            return
        await self._send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [*_STREAM_HEADERS, *rendered_headers(self._headers(chunk))],
            }
        )
        self._count(200, await self._events(waiter, chunk))

    async def _events(self, waiter: Waiter, chunk: ResultChunk | None) -> str:
        """Send the events of a stream; returns the code of the error that ended it, or nothing."""
        has_output = False
        while True:
            if chunk is not None:
                if chunk.kind == ChunkKind.ERROR:
                    await self._write(events(chunk.payload), more=False)
                    return _code_of(chunk)
                if not has_output:
                    has_output = True
                    self._note_first_output()
                if chunk.kind == ChunkKind.END:
                    await self._write(events(chunk.payload) + DONE, more=False)
                    return ""
                await self._write(events(chunk.payload), more=True)
            try:
                chunk = await waiter.next(timeout_s=min(KEEP_ALIVE_S, self._remaining_s()))
            except TimeoutError:
                chunk = None
                if self._remaining_s() <= 0:
                    await self._write(error_event(_LATE), more=False)
                    return _LATE.code
                await self._write(KEEP_ALIVE, more=True)

    async def _write(self, body: bytes, *, more: bool) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    def _note_first_output(self) -> None:
        self._desk.metrics.first_token.labels(self._requested.operation).observe(
            (self._desk.clock.now_ms() - self._started_ms) / MS_PER_S
        )

    def _remaining_s(self) -> float:
        last_ms = self._requested.deadline_at + GRACE_MS
        return max(0.0, (last_ms - self._desk.clock.now_ms()) / MS_PER_S)

    def _headers(self, chunk: ResultChunk | None) -> dict[str, str]:
        worked_ms = self._desk.clock.now_ms() - self._started_ms
        return {
            "x-request-id": self._requested.request_id,
            "openai-processing-ms": str(int(worked_ms)),
            **({REPLAYED_HEADER: "true"} if self._is_replayed else {}),
            **(chunk.headers if chunk is not None else {}),
        }

    def _count(self, status: int, code: str) -> None:
        operation = self._requested.operation
        self._desk.metrics.answers.labels(operation, status, code).inc()
        self._desk.metrics.duration.labels(operation).observe(
            (self._desk.clock.now_ms() - self._started_ms) / MS_PER_S
        )


def _code_of(chunk: ResultChunk) -> str:
    if chunk.kind != ChunkKind.ERROR:
        return ""
    try:
        code = msgspec.json.decode(chunk.payload)["error"]["code"]
    except (msgspec.DecodeError, KeyError, TypeError):
        return "unknown"
    return str(code)
