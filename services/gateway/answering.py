"""From an accepted request to the end of its answer: publish, wait, answer."""

import logging

from services.gateway.asgi import Request, Send, rendered_headers, send_error, send_whole
from services.gateway.claims import HEADER, REPLAYED_HEADER
from services.gateway.decide import code_of
from services.gateway.desk import CLIENT_GONE, MS_PER_S, Desk
from services.gateway.event_stream import (
    GRACE_MS,
    HEADERS_WITHIN_S,
    LATE,
    EventStream,
)
from services.gateway.front_door.exchange import ClientGone
from services.gateway.waiter import Abandoned, Waiter
from services.shared.domain.cancellations import CANCEL
from services.shared.domain.configuration import WhenClientLeaves
from services.shared.domain.errors import PublicError, Unavailable
from services.shared.domain.events import (
    ChunkKind,
    ControlRequested,
    InferenceRequested,
    ResultChunk,
)

KAFKA_RETRY_MS = 2_000
_MAX_COUNT_DIGITS = 9
_LOG = logging.getLogger(__name__)
_GONE = (499, "client_gone")  # a status for counting only: nobody is left to send it to
_UNRECORDED = PublicError(
    code="upstream_unavailable",
    message="The request could not be recorded. Try again in a moment.",
    retry_after_ms=KAFKA_RETRY_MS,
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
        self._is_resumable = is_resumable(request)
        self._events = EventStream(send, with_ids=self._is_resumable)

    async def run(self) -> None:
        """Publish, wait, answer; ends at once when the client leaves, as its key's policy says."""
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
            await self._cancel_unless_wanted()
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
            await self._desk.publisher.publish(self._requested, is_retry=self._is_retry())
        except Unavailable:
            await self._refuse(_UNRECORDED)
            return
        self._desk.pass_by("after_publish")
        await self._answer(waiter)

    async def _answer(self, waiter: Waiter) -> None:
        if self._requested.stream:
            await self._stream(waiter)
        else:
            await self._whole(waiter)

    def _is_retry(self) -> bool:
        """Whether the client asks again for what it gave up waiting for, and may get that."""
        count = self._request.header(b"x-stainless-retry-count")
        key = self._desk.keys[self._requested.key_id]
        is_number = count.isascii() and count.isdigit() and len(count) <= _MAX_COUNT_DIGITS
        return key.attach_retries and is_number and int(count) >= 1

    async def _cancel_unless_wanted(self) -> None:
        """End what nobody waits for any more, where its key says so and nobody may come back."""
        key = self._desk.keys[self._requested.key_id]
        may_come_back = self._is_resumable or HEADER in self._request.headers
        if may_come_back or key.when_client_leaves == WhenClientLeaves.FINISH:
            return
        control = ControlRequested(
            action=CANCEL,
            request_id=self._requested.request_id,
            tenant=self._requested.tenant,
            at=int(self._desk.clock.now_ms()),
            reason=CLIENT_GONE,
        )
        try:
            await self._desk.controls.publish(control)
        except Unavailable as error:
            _LOG.warning("cannot cancel what nobody waits for", extra={"why": str(error)})

    async def _whole(self, waiter: Waiter) -> None:
        try:
            chunk = await waiter.next(timeout_s=self._remaining_s())
        except TimeoutError:
            await self._refuse(LATE)
        else:
            await self._send_document(chunk)

    async def _refuse(self, error: PublicError) -> None:
        self._count(error.meaning.status, error.code)
        await send_error(self._send, error, request_id=self._requested.request_id)

    async def _send_document(self, chunk: ResultChunk) -> None:
        self._count(chunk.status, code_of(chunk))
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
        await self._events.begin(self._headers(chunk))
        code = await self._events.run(
            waiter, chunk, remaining_s=self._remaining_s, on_output=self._note_first_output
        )
        self._count(200, code)

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


def is_resumable(request: Request) -> bool:
    """Whether a client wants to be able to go on where its stream was cut."""
    wanted = request.header(b"x-millrace-resumable").strip().lower() == "true"
    return wanted or b"last-event-id" in request.headers
