"""``POST /v1/chat/completions``, ``/v1/completions``, ``/v1/embeddings``: ask, wait, answer."""

from collections.abc import Mapping

import msgspec
from prometheus_client import CollectorRegistry, Counter, Histogram

from services.gateway.asgi import (
    JSON,
    Handler,
    Request,
    Send,
    rendered_headers,
    send_error,
    send_whole,
)
from services.gateway.decide import authenticate
from services.gateway.replies import Replies, Waiter
from services.gateway.sse import DONE, KEEP_ALIVE, error_event, events
from services.shared.domain.admission.accept import (
    Acceptance,
    Caller,
    label_error,
    requested_from,
)
from services.shared.domain.admission.admit import Admitted, admit
from services.shared.domain.admission.cache_policy import merge_cache_policy
from services.shared.domain.admission.limits import Limits
from services.shared.domain.configuration import Model, VirtualKey
from services.shared.domain.errors import PublicError, Unavailable
from services.shared.domain.events import ChunkKind, InferenceRequested, Operation, ResultChunk
from services.shared.domain.name_patterns import NamePatterns, matches_any
from services.shared.domain.tracing import read_traceparent, request_context, traceparent
from services.shared.ports.clock import Clock
from services.shared.ports.request_publisher import RequestPublisher
from services.shared.telemetry.metrics import latency_histogram

KEEP_ALIVE_S = 15.0
HEADERS_WITHIN_S = 10.0
"""A stream's headers are sent by then, output or not; errors after that come inside the stream."""

_GRACE_MS = 2_000
"""How long after a deadline the stages may still say themselves that it passed."""

_MAX_TRACESTATE_CHARS = 512
_MAX_DIGITS = 12
_MS_PER_S = 1000
_KAFKA_RETRY_MS = 2_000
_LATE = PublicError(
    code="deadline_exceeded",
    message="No answer came before the request's deadline. Allow it more time, or ask again later.",
)
_ORPHANED = PublicError(
    code="stream_interrupted",
    message="The process that was answering is gone; the answer is cut off. Ask again.",
)
_STREAM_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)


class InferenceMetrics:
    """What callers got."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the metrics."""
        self.answers = Counter(
            "millrace_http_answers",
            "Answers to inference requests by operation, status and error code.",
            ("operation", "status", "code"),
            registry=registry,
        )
        self.duration: Histogram = latency_histogram(
            "gen_ai_server_request_duration_seconds",
            "From the request's head to the end of its answer.",
            ("operation",),
            registry,
        )
        self.first_token: Histogram = latency_histogram(
            "gen_ai_server_time_to_first_token_seconds",
            "From the request's head to the first output of a stream.",
            ("operation",),
            registry,
        )


class Desk(msgspec.Struct, frozen=True, kw_only=True):
    """What answering takes.

    Attributes:
        publisher: The way into the pipeline.
        replies: Where answers arrive.
        keys: Virtual keys by id.
        models: Models as callers see them.
        limits: What a request may ask for.
        reply_partition: Where this process reads answers.
        clock: The time.
        metrics: Where answers are counted.
    """

    publisher: RequestPublisher
    replies: Replies
    keys: Mapping[str, VirtualKey]
    models: NamePatterns[Model]
    limits: Limits
    reply_partition: int
    clock: Clock
    metrics: InferenceMetrics


def inference(operation: Operation, desk: Desk) -> Handler:
    """The handler of one operation's path."""

    async def handle(request: Request, send: Send) -> None:
        started_ms = desk.clock.now_ms()
        accepted = await _accept(operation, request, desk, started_ms)
        if isinstance(accepted, PublicError):
            desk.metrics.answers.labels(
                operation.value, accepted.meaning.status, accepted.code
            ).inc()
            await send_error(send, accepted, request_id=request.id)
            return
        await _Answering(request, send, desk, accepted, started_ms).run()

    return handle


async def _accept(
    operation: Operation, request: Request, desk: Desk, now_ms: float
) -> InferenceRequested | PublicError:
    """Authenticate, read, check: the record of the request, or why it is refused."""
    key = authenticate(request.all_of(b"authorization"), desk.keys)
    if isinstance(key, PublicError):
        return key
    error = _media_error(request)
    if error is not None:
        return error
    admitted = admit(operation, await request.body(), limits=desk.limits)
    if isinstance(admitted, PublicError):
        return admitted
    if not _may_ask(key, admitted, desk):
        return PublicError(
            code="model_not_found",
            message=(
                f"The model '{_short(admitted.model)}' does not exist or you do not have access to "
                "it. GET /v1/models lists those that you may use."
            ),
            param="model",
        )
    return _requested(request, key, admitted, desk, now_ms)


def _media_error(request: Request) -> PublicError | None:
    content_type, _, parameters = request.header(b"content-type").lower().partition(";")
    charset = parameters.partition("charset=")[2].strip().strip('"')
    if content_type.strip() != JSON or charset not in {"", "utf-8"}:
        return PublicError(
            code="unsupported_media_type",
            message="Send the body as 'Content-Type: application/json', in UTF-8.",
        )
    if request.header(b"content-encoding").lower() not in {"", "identity"}:
        return PublicError(
            code="unsupported_media_type",
            message="Compressed bodies are not read; send it without 'Content-Encoding'.",
        )
    return None


def _may_ask(key: VirtualKey, admitted: Admitted, desk: Desk) -> bool:
    if key.models and not matches_any(admitted.model, key.models):
        return False
    found = desk.models.find(admitted.model)
    if found is None:
        return False
    return not found.value.operations or admitted.operation in found.value.operations


def _requested(
    request: Request, key: VirtualKey, admitted: Admitted, desk: Desk, now_ms: float
) -> InferenceRequested | PublicError:
    headers = {
        name: request.header(name.encode())
        for name in ("cache-control", "x-millrace-cache-namespace")
        if name.encode() in request.headers
    }
    policy = merge_cache_policy(admitted.cache_policy, headers)
    if isinstance(policy, PublicError):
        return policy
    feature = request.header(b"x-millrace-feature")
    conversation_id = request.header(b"x-millrace-conversation-id")
    priority = _priority(request, key)
    deadline_ms = _time_allowed_ms(request, admitted, desk)
    for checked in (
        label_error("x-millrace-feature", feature),
        label_error("x-millrace-conversation-id", conversation_id),
        priority,
        deadline_ms,
    ):
        if isinstance(checked, PublicError):
            return checked
    state = request.header(b"tracestate")
    caller = read_traceparent(request.header(b"traceparent"))
    is_state = caller is not None and len(state) <= _MAX_TRACESTATE_CHARS and state.isascii()
    acceptance = Acceptance(
        request_id=request.id,
        accepted_at=int(now_ms),
        deadline_at=int(now_ms) + deadline_ms,  # type: ignore[operator]  # checked above
        priority=priority,  # type: ignore[arg-type]
        reply_partition=desk.reply_partition,
        feature=feature,
        conversation_id=conversation_id,
        traceparent=traceparent(request_context(request.id, caller)),
        tracestate=state if is_state else "",
    )
    return requested_from(
        admitted,
        caller=Caller(tenant=key.tenant, key_id=key.id, tier=key.tier),
        acceptance=acceptance,
        cache_policy=policy,
    )


def _priority(request: Request, key: VirtualKey) -> int | PublicError:
    """The key's priority, or a less urgent one that the request asks for."""
    wanted = request.header(b"x-millrace-priority")
    if not wanted:
        return key.priority
    if wanted not in {"0", "1", "2"}:
        return PublicError(
            code="invalid_header",
            message="'x-millrace-priority' is 0 (a user waits), 1 or 2 (background).",
            param="x-millrace-priority",
        )
    return max(key.priority, int(wanted))


def _time_allowed_ms(request: Request, admitted: Admitted, desk: Desk) -> int | PublicError:
    """Time until the deadline: as asked for, else as long as the client says it will wait."""
    wanted = request.header(b"x-millrace-deadline-ms")
    if wanted:
        most = desk.limits.max_deadline_ms
        is_number = wanted.isascii() and wanted.isdigit() and len(wanted) <= _MAX_DIGITS
        if not (is_number and 1 <= int(wanted) <= most):
            return PublicError(
                code="invalid_header",
                message=f"'x-millrace-deadline-ms' is a number from 1 to {most}.",
                param="x-millrace-deadline-ms",
            )
        return int(wanted)
    allowed = desk.limits.request_timeout_ms
    try:
        waits_ms = int(float(request.header(b"x-stainless-read-timeout") or "inf") * _MS_PER_S)
    except (ValueError, OverflowError):
        return allowed
    # In a stream the client's limit is on silence, not on the whole.
    return allowed if admitted.stream or waits_ms < 1 else min(allowed, waits_ms)


def _short(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:64])


class _Answering:
    """From an accepted request to the end of its answer."""

    def __init__(
        self,
        request: Request,
        send: Send,
        desk: Desk,
        requested: InferenceRequested,
        started_ms: float,
    ) -> None:
        self._request = request
        self._send = send
        self._desk = desk
        self._requested = requested
        self._started_ms = started_ms

    async def run(self) -> None:
        """Publish, wait, answer."""
        request_id = self._requested.request_id
        waiter = self._desk.replies.expect(request_id)
        try:
            try:
                await self._desk.publisher.publish(self._requested)
            except Unavailable:
                error = PublicError(
                    code="upstream_unavailable",
                    message="The request could not be recorded. Try again in a moment.",
                    retry_after_ms=_KAFKA_RETRY_MS,
                )
                self._count(error.meaning.status, error.code)
                await send_error(self._send, error, request_id=request_id)
                return
            if self._requested.stream:
                await self._stream(waiter)
            else:
                await self._whole(waiter)
        finally:
            self._desk.replies.forget(request_id)

    async def _whole(self, waiter: Waiter) -> None:
        try:
            chunk = await waiter.next(timeout_s=self._remaining_s())
        except TimeoutError:
            self._count(_LATE.meaning.status, _LATE.code)
            await send_error(self._send, _LATE, request_id=self._requested.request_id)
            return
        await self._send_document(chunk)

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
                "headers": [
                    *_STREAM_HEADERS,
                    *rendered_headers(self._headers(chunk)),
                ],
            }
        )
        code = await self._events(waiter, chunk)
        self._count(200, code)

    async def _events(self, waiter: Waiter, chunk: ResultChunk | None) -> str:
        """Send the events of a stream; returns the code of the error that ended it, or nothing."""
        if chunk is not None:
            self._desk.metrics.first_token.labels(self._requested.operation).observe(
                (self._desk.clock.now_ms() - self._started_ms) / _MS_PER_S
            )
        silent_s = 0.0
        while True:
            if chunk is not None:
                silent_s = 0.0
                if await self._write_chunk(chunk):
                    return _code_of(chunk)
            elif (error := self._reason_to_end(waiter)) is not None:
                await self._write(error_event(error), more=False)
                return error.code
            elif silent_s >= KEEP_ALIVE_S:
                silent_s = 0.0
                await self._write(KEEP_ALIVE, more=True)
            wait_s = 1.0 if waiter.rival_since_s is not None else KEEP_ALIVE_S - silent_s
            wait_s = min(wait_s, self._remaining_s())
            try:
                chunk = await waiter.next(timeout_s=wait_s)
            except TimeoutError:
                chunk = None
                silent_s += wait_s

    async def _write_chunk(self, chunk: ResultChunk) -> bool:
        """Send a chunk's events; whether the stream ends with it."""
        rendered = events(chunk.payload)
        if chunk.kind == ChunkKind.END:
            rendered += DONE
        is_last = chunk.kind != ChunkKind.DELTA
        await self._write(rendered, more=not is_last)
        return is_last

    def _reason_to_end(self, waiter: Waiter) -> PublicError | None:
        if self._remaining_s() <= 0:
            return _LATE
        return _ORPHANED if waiter.is_orphaned else None

    async def _write(self, body: bytes, *, more: bool) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    def _remaining_s(self) -> float:
        last_ms = self._requested.deadline_at + _GRACE_MS
        return max(0.0, (last_ms - self._desk.clock.now_ms()) / _MS_PER_S)

    def _headers(self, chunk: ResultChunk | None) -> dict[str, str]:
        worked_ms = self._desk.clock.now_ms() - self._started_ms
        return {
            "x-request-id": self._requested.request_id,
            "openai-processing-ms": str(int(worked_ms)),
            **(chunk.headers if chunk is not None else {}),
        }

    def _count(self, status: int, code: str) -> None:
        operation = self._requested.operation
        self._desk.metrics.answers.labels(operation, status, code).inc()
        self._desk.metrics.duration.labels(operation).observe(
            (self._desk.clock.now_ms() - self._started_ms) / _MS_PER_S
        )


def _code_of(chunk: ResultChunk) -> str:
    if chunk.kind != ChunkKind.ERROR:
        return ""
    try:
        code = msgspec.json.decode(chunk.payload)["error"]["code"]
    except (msgspec.DecodeError, KeyError, TypeError):
        return "unknown"
    return str(code)
