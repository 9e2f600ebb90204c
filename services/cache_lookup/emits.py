"""The records that leave the look-up: of a miss, of a hit, of a request that joined another."""

from collections.abc import Iterable

import msgspec

from services.shared.domain.cancellations import CANCELLED
from services.shared.domain.emit import Emit
from services.shared.domain.errors import PublicError
from services.shared.domain.events import (
    CacheEntry,
    CacheEvidence,
    CacheMissed,
    CacheOutcome,
    ChunkKind,
    ControlRequested,
    Hop,
    InferenceFinished,
    InferenceRequested,
    Operation,
    Outcome,
    ResultChunk,
    UsageKind,
)
from services.shared.domain.evidence import cache_headers
from services.shared.domain.ids import NO_REPLY
from services.shared.domain.kept_answer import entry_of
from services.shared.domain.ledger import row_of
from services.shared.domain.replay import replayed_stream, whole_response
from services.shared.domain.terminal import (
    Answer,
    Journey,
    chunk_emit,
    closing_chunk,
    completed,
    emits_for_expiry,
    emits_for_failure,
    terminal_emit,
)
from services.shared.domain.topics import Topic

Hops = tuple[Hop, ...]


def passed_on(request: InferenceRequested, evidence: CacheEvidence, *, hops: Hops) -> Emit:
    """The model has to be asked."""
    return Emit(
        topic=Topic.CACHE_MISSES,
        key=request.request_id,
        event=CacheMissed(request=request, cache=evidence, hops=hops),
        request=request,
    )


def hit(
    request: InferenceRequested,
    entry: CacheEntry,
    evidence: CacheEvidence,
    *,
    hops: Hops,
    now_ms: float,
) -> Iterable[Emit]:
    """A kept answer is served; that saved what it cost when it came."""
    whole = whole_response(request, entry.response)
    if request.reply_partition != NO_REPLY:
        yield _answer_chunk(request, entry, whole, evidence)
    yield _saving(request, UsageKind.HIT, entry, at_ms=now_ms)
    yield _completion(request, entry, whole, Journey(hops=hops, cache=evidence), now_ms=now_ms)


def joined_chunk(request: InferenceRequested, leader_id: str, *, follows: bool) -> Emit:
    """Says that a request has joined another, and tells its gateway whose tokens to follow.

    Its run is the leader's id, so that it is the first of its stream however often a request joins.

    Args:
        request: The joiner.
        leader_id: Whom it has joined.
        follows: Its client sees the leader's tokens as they come; else the chunk names nobody, and
            only says that the request is under way, and whose it is.
    """
    chunk = ResultChunk(
        request_id=request.request_id,
        run=leader_id,
        attempt=0,
        seq=0,
        kind=ChunkKind.JOINED.value,
        payload=leader_id.encode() if follows else b"",
        headers=cache_headers(evidence_of_join(leader_id)),
    )
    return chunk_emit(request, chunk)


def shared(
    request: InferenceRequested,
    leader: InferenceFinished,
    *,
    follows: bool,
    hops: Hops,
    now_ms: float,
) -> Iterable[Emit]:
    """A joiner gets its leader's answer.

    Args:
        request: The joiner.
        leader: The leader's terminal record.
        follows: Its client has had the answer already, token by token.
        hops: Stages that it passed.
        now_ms: Unix ms.
    """
    entry = entry_of(leader)
    whole = whole_response(request, entry.response)
    evidence = evidence_of_join(leader.request_id)
    if request.reply_partition != NO_REPLY:
        if follows:
            yield chunk_emit(request, closing_chunk(request, leader.request_id))
        else:
            yield _answer_chunk(request, entry, whole, evidence)
    yield _saving(request, UsageKind.JOIN, entry, at_ms=now_ms)
    yield _completion(request, entry, whole, Journey(hops=hops, cache=evidence), now_ms=now_ms)


def refused(
    request: InferenceRequested, error: PublicError, leader_id: str, *, hops: Hops, now_ms: float
) -> Iterable[Emit]:
    """A joiner gets its leader's error."""
    yield _in_vain(request, leader_id, error.code, at_ms=now_ms)
    journey = Journey(hops=hops, cache=evidence_of_join(leader_id))
    yield from emits_for_failure(request, error, now_ms=now_ms, journey=journey)


def expired(
    request: InferenceRequested, leader_id: str, *, hops: Hops, now_ms: float
) -> Iterable[Emit]:
    """A joiner's deadline passed before its leader ended."""
    yield _in_vain(request, leader_id, "deadline_exceeded", at_ms=now_ms)
    journey = Journey(hops=hops, cache=evidence_of_join(leader_id))
    yield from emits_for_expiry(request, now_ms=now_ms, journey=journey)


def cancelled(
    request: InferenceRequested, leader_id: str, *, hops: Hops, now_ms: float
) -> Iterable[Emit]:
    """A joiner was given up by its own caller."""
    yield _in_vain(request, leader_id, CANCELLED.code, at_ms=now_ms)
    yield from emits_for_failure(
        request,
        CANCELLED,
        now_ms=now_ms,
        journey=Journey(hops=hops, cache=evidence_of_join(leader_id)),
        outcome=Outcome.CANCELLED,
    )


def need_of_call(
    action: str, leader_id: str, request: InferenceRequested, *, holder: str, now_ms: float
) -> Emit:
    """Tells whoever serves a leader that its call is needed, or no longer.

    Args:
        action: ``hold`` or ``release``.
        leader_id: The leader.
        request: One that joins it, or has left it.
        holder: The process where joiners wait.
        now_ms: Unix ms.
    """
    control = ControlRequested(
        action=action,
        request_id=leader_id,
        tenant=request.tenant,
        at=int(now_ms),
        holder=holder,
    )
    return Emit(topic=Topic.CONTROL, key=leader_id, event=control)


def evidence_of_join(leader_id: str) -> CacheEvidence:
    """What a caller is told whose request joined another."""
    return CacheEvidence(outcome=CacheOutcome.JOINED.value, source_request_id=leader_id)


def _answer_chunk(
    request: InferenceRequested, entry: CacheEntry, whole: bytes, evidence: CacheEvidence
) -> Emit:
    streams = request.stream and request.operation != Operation.EMBEDDINGS
    chunk = ResultChunk(
        request_id=request.request_id,
        attempt=0,
        seq=0,
        kind=ChunkKind.END.value,
        payload=replayed_stream(request, entry.response) if streams else whole,
        headers=cache_headers(evidence),
    )
    return chunk_emit(request, chunk)


def _completion(
    request: InferenceRequested,
    entry: CacheEntry,
    whole: bytes,
    journey: Journey,
    *,
    now_ms: float,
) -> Emit:
    answer = Answer(
        response=whole,
        usage=entry.usage,
        finish_reason=entry.finish_reason,
        response_model=entry.response_model,
    )
    return terminal_emit(request, completed(request, answer, now_ms=now_ms, journey=journey))


def _saving(
    request: InferenceRequested, kind: UsageKind, entry: CacheEntry, *, at_ms: float
) -> Emit:
    """The row of who gets another's answer: what that cost is saved."""
    row = msgspec.structs.replace(
        row_of(request, kind, attempt=0, at_ms=at_ms),
        source_request_id=entry.request_id,
        usage=entry.usage,
        saved_nanousd=entry.cost_nanousd,
        price_version=entry.price_version,
    )
    return Emit(topic=Topic.USAGE_LEDGER, key=request.tenant, event=row, request=request)


def _in_vain(request: InferenceRequested, leader_id: str, code: str, *, at_ms: float) -> Emit:
    """The row of who waited for another's answer and got none."""
    row = msgspec.structs.replace(
        row_of(request, UsageKind.JOIN, attempt=0, at_ms=at_ms),
        source_request_id=leader_id,
        error_code=code,
    )
    return Emit(topic=Topic.USAGE_LEDGER, key=request.tenant, event=row, request=request)
