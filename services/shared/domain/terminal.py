"""How a request ends: its terminal record, and the chunk that tells the waiting client."""

import msgspec

from services.shared.domain.cancellations import CANCELLED
from services.shared.domain.emit import Emit
from services.shared.domain.errors import PublicError, error_document
from services.shared.domain.events import (
    CacheEvidence,
    CacheMissed,
    ChunkKind,
    Event,
    Failure,
    Hop,
    InferenceFinished,
    InferenceRequested,
    ModelCall,
    Outcome,
    RequestRouted,
    ResultChunk,
    Route,
)
from services.shared.domain.evidence import cache_headers, route_headers
from services.shared.domain.ids import NO_REPLY
from services.shared.domain.money import Usage
from services.shared.domain.topics import Topic

_EXPIRED = PublicError(
    code="deadline_exceeded",
    message="The request's deadline passed before an answer was ready. Allow it more time.",
)


CALL_HEADER = "x-millrace-call"
CALL_GOES_ON = "goes-on"
"""The response header by which a caller who gave his request up learns that its call goes on, as
identical requests wait for its answer."""


class Journey(msgspec.Struct, frozen=True, kw_only=True):
    """What a request went through before it ended; a stage fills in what it knows.

    Attributes:
        hops: Stages passed.
        cache: What the cache found.
        route: Where it went; None = it was never routed.
        calls: Calls to providers, in order.
        batch_id: Batch it was called in; empty = none.
        batch_size: Members of that batch; 0 = none.
    """

    hops: tuple[Hop, ...] = ()
    cache: CacheEvidence = CacheEvidence()
    route: Route | None = None
    calls: tuple[ModelCall, ...] = ()
    batch_id: str = ""
    batch_size: int = 0


_NO_JOURNEY = Journey()


def journey_of(event: Event) -> Journey:
    """What a request went through, as far as a record of it says."""
    match event:
        case CacheMissed(cache=cache, hops=hops):
            return Journey(hops=hops, cache=cache)
        case RequestRouted(cache=cache, hops=hops, route=route):
            return Journey(hops=hops, cache=cache, route=route)
        case _:
            return _NO_JOURNEY


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer.

    Attributes:
        response: OpenAI-shaped JSON.
        usage: Tokens the caller is told of.
        billed: Tokens that the provider is paid for, where parts of the answer were known; None =
            ``usage``.
        finish_reason: Why the model stopped.
        response_model: Model that the provider says answered.
    """

    response: bytes
    usage: Usage = Usage()
    billed: Usage | None = None
    finish_reason: str = ""
    response_model: str = ""


def completed(
    request: InferenceRequested, answer: Answer, *, now_ms: float, journey: Journey = _NO_JOURNEY
) -> InferenceFinished:
    """The terminal record of a request that was answered, by a model or by the cache."""
    return msgspec.structs.replace(
        _finished(request, Outcome.COMPLETED, now_ms=now_ms, journey=journey),
        usage=answer.usage,
        finish_reason=answer.finish_reason,
        response_model=answer.response_model,
        response=answer.response,
    )


def failed(
    request: InferenceRequested,
    error: PublicError,
    *,
    now_ms: float,
    journey: Journey = _NO_JOURNEY,
    outcome: Outcome = Outcome.FAILED,
) -> InferenceFinished:
    """The terminal record of a request that got no whole answer.

    Args:
        request: The request.
        error: Why, as the caller sees it.
        now_ms: Unix ms.
        journey: What it went through.
        outcome: ``failed``, ``cancelled`` or ``expired``.
    """
    return msgspec.structs.replace(
        _finished(request, outcome, now_ms=now_ms, journey=journey),
        error=_failure(error),
    )


_CLOSING_SEQ = 1
"""Of ``joined`` chunks the first names the leader, the second says that they end alike."""


def left_to_others(answered: InferenceFinished) -> InferenceFinished:
    """The terminal record of a request that was given up while others waited for its answer.

    Its caller has been told that it is cancelled; the others get the answer from here.

    Args:
        answered: How it would have ended.
    """
    return msgspec.structs.replace(
        answered, outcome=Outcome.CANCELLED.value, error=_failure(CANCELLED)
    )


def has_answer(finished: InferenceFinished) -> bool:
    """Whether identical requests may be given what is in a terminal record."""
    was_left = finished.outcome == Outcome.CANCELLED and bool(finished.response)
    return finished.outcome == Outcome.COMPLETED or was_left


def leaving_chunk(
    request: InferenceRequested, *, headers: dict[str, str], attempt: int
) -> ResultChunk:
    """The chunk that tells a caller that his request is cancelled, while its call goes on.

    Its run is the request's own id, so that it is no part of the stream, which goes on too.

    Args:
        request: The request.
        headers: Response headers.
        attempt: Number of the model call under way; 0 = none yet.
    """
    headers = {**headers, CALL_HEADER: CALL_GOES_ON}
    return error_chunk(request, CANCELLED, headers=headers, run=request.request_id, attempt=attempt)


def is_leaving(chunk: ResultChunk) -> bool:
    """Whether a chunk ends the request for its own caller alone."""
    return chunk.kind == ChunkKind.ERROR and chunk.headers.get(CALL_HEADER) == CALL_GOES_ON


def closing_chunk(request: InferenceRequested, leader_id: str) -> ResultChunk:
    """The chunk that tells the gateway of a joiner that its answer ends as that of its leader."""
    return ResultChunk(
        request_id=request.request_id,
        run=leader_id,
        attempt=0,
        seq=_CLOSING_SEQ,
        kind=ChunkKind.JOINED.value,
        payload=b"",
    )


def is_closing(chunk: ResultChunk) -> bool:
    """Whether a chunk says that a joiner's answer ends as that of its leader."""
    return chunk.kind == ChunkKind.JOINED and chunk.seq == _CLOSING_SEQ


def error_chunk(  # noqa: PLR0913  (a chunk has that many parts)
    request: InferenceRequested,
    error: PublicError,
    *,
    headers: dict[str, str] | None = None,
    run: str = "",
    attempt: int = 0,
    seq: int = 0,
) -> ResultChunk:
    """The chunk that closes a stream with an error.

    Args:
        request: The request.
        error: Why, as the caller sees it.
        headers: Response headers beside those that follow from the error.
        run: Who served the request; empty = it was not served.
        attempt: Number of the model call that failed; 0 = none was made.
        seq: Position in the attempt's stream.
    """
    return ResultChunk(
        request_id=request.request_id,
        run=run,
        attempt=attempt,
        seq=seq,
        kind=ChunkKind.ERROR.value,
        payload=error_document(error),
        status=error.meaning.status,
        headers={**(headers or {}), **retry_headers(error)},
    )


def retry_headers(error: PublicError) -> dict[str, str]:
    """Response headers that tell OpenAI's clients whether and when to try again."""
    headers = {"x-should-retry": "true" if error.meaning.should_retry else "false"}
    if error.retry_after_ms > 0:
        headers["retry-after-ms"] = str(error.retry_after_ms)
        headers["retry-after"] = str(-(-error.retry_after_ms // 1000))
    return headers


def emits_for_failure(
    request: InferenceRequested,
    error: PublicError,
    *,
    now_ms: float,
    journey: Journey = _NO_JOURNEY,
    outcome: Outcome = Outcome.FAILED,
) -> tuple[Emit, ...]:
    """All records of a failure before any output: the client's chunk, if one waits; the terminal.

    Args:
        request: The request.
        error: Why, as the caller sees it.
        now_ms: Unix ms.
        journey: What it went through; also explained in the response headers.
        outcome: ``failed``, ``cancelled`` or ``expired``.
    """
    terminal = failed(request, error, now_ms=now_ms, journey=journey, outcome=outcome)
    ending = terminal_emit(request, terminal)
    if request.reply_partition == NO_REPLY:
        return (ending,)
    headers = {**cache_headers(journey.cache), **route_headers(journey.route)}
    chunk = error_chunk(request, error, headers=headers, attempt=len(journey.calls))
    return (chunk_emit(request, chunk), ending)


def emits_for_expiry(
    request: InferenceRequested, *, now_ms: float, journey: Journey = _NO_JOURNEY
) -> tuple[Emit, ...]:
    """All records of a request met after its deadline."""
    return emits_for_failure(
        request, _EXPIRED, now_ms=now_ms, journey=journey, outcome=Outcome.EXPIRED
    )


def terminal_emit(request: InferenceRequested, terminal: InferenceFinished) -> Emit:
    """Where a terminal record goes."""
    return Emit(
        topic=Topic.INFERENCE_RESULTS, key=request.request_id, event=terminal, request=request
    )


def chunk_emit(request: InferenceRequested, chunk: ResultChunk) -> Emit:
    """Where a chunk goes: the partition that the waiting gateway reads."""
    return Emit(
        topic=Topic.RESULT_CHUNKS,
        key=request.request_id,
        event=chunk,
        request=request,
        partition=request.reply_partition,
    )


def _failure(error: PublicError) -> Failure:
    return Failure(
        code=error.code,
        message=error.message,
        param=error.param,
        status=error.meaning.status,
        fault=error.meaning.fault.value,
    )


def _finished(
    request: InferenceRequested, outcome: Outcome, *, now_ms: float, journey: Journey
) -> InferenceFinished:
    return InferenceFinished(
        request_id=request.request_id,
        outcome=outcome.value,
        tenant=request.tenant,
        key_id=request.key_id,
        tier=request.tier,
        feature=request.feature,
        user=request.user,
        operation=request.operation,
        model=request.model,
        stream=request.stream,
        priority=request.priority,
        accepted_at=request.accepted_at,
        finished_at=int(now_ms),
        fingerprint=request.fingerprint,
        cache_policy=request.cache_policy,
        cache=journey.cache,
        route=journey.route,
        calls=journey.calls,
        batch_id=journey.batch_id,
        batch_size=journey.batch_size,
        cost_nanousd=sum(call.cost_nanousd for call in journey.calls),
        hops=journey.hops,
    )
