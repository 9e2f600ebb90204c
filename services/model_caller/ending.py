"""Writes how calls ended, what they cost, and the ends of requests."""

from collections.abc import Awaitable, Sequence

import msgspec

from services.model_caller import records
from services.model_caller.together import acknowledged
from services.model_caller.tools import Tools
from services.shared.codec.records import encode_record
from services.shared.domain.cancellations import CANCELLED
from services.shared.domain.errors import PublicError
from services.shared.domain.events import (
    AttemptOutcome,
    InferenceFinished,
    ModelCall,
    Outcome,
    RequestBatch,
    RequestRouted,
    UsageKind,
)
from services.shared.domain.evidence import cache_headers, route_headers
from services.shared.domain.ids import NO_REPLY
from services.shared.domain.terminal import (
    Journey,
    chunk_emit,
    error_chunk,
    failed,
    terminal_emit,
)
from services.shared.ports.work import OpenRecord, Written

_OUTCOMES = {"deadline_exceeded": Outcome.EXPIRED, CANCELLED.code: Outcome.CANCELLED}


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How the last call for a request ended.

    Attributes:
        member: The request.
        call: The call.
        outcome: How it ended.
        price_version: Name and date of the price table; None = the call's cost was told before.
    """

    member: RequestRouted
    call: ModelCall
    outcome: AttemptOutcome
    price_version: str | None


def outcome_of(error: PublicError) -> Outcome:
    """How a request ended that ended in an error."""
    return _OUTCOMES.get(error.code, Outcome.FAILED)


async def close_call(tools: Tools, work: OpenRecord[RequestBatch], ending: Ending) -> None:
    """Say that a call is over, and what it cost; the request goes on."""
    await _finished(tools, work, ending, b"")
    await write_row(tools, work, ending)
    request_id = ending.member.request.request_id
    call = ending.call
    is_answered = ending.outcome is AttemptOutcome.ANSWERED
    left = f"{call.provider}/{call.model}" if is_answered else ""
    tools.journal.index.finish(request_id, attempt=call.attempt, left=left)


async def end_requests(
    tools: Tools,
    work: OpenRecord[RequestBatch],
    endings: Sequence[Ending],
    terminals: Sequence[InferenceFinished],
) -> None:
    """Write the ends of requests and of the calls that led to them; wait until they are durable.

    Args:
        tools: What serving needs.
        work: The batch that the requests came in.
        endings: How their last calls ended.
        terminals: Their terminal records, but for this stage's hop.
    """
    sent = [
        await _end(tools, work, ending, terminal)
        for ending, terminal in zip(endings, terminals, strict=True)
    ]
    for ending, one in zip(endings, sent, strict=True):
        written = await acknowledged(one)
        tools.journal.index.end(ending.member.request.request_id, offset=written.offset)


async def _end(
    tools: Tools, work: OpenRecord[RequestBatch], ending: Ending, terminal: InferenceFinished
) -> Awaitable[Written]:
    request = ending.member.request
    hop = work.hop(request, now_ms=tools.clock.now_ms())
    terminal = msgspec.structs.replace(terminal, hops=(*terminal.hops, hop))
    value = encode_record(terminal)
    sent = await _finished(tools, work, ending, value)
    emit = terminal_emit(request, terminal)
    await work.emit(msgspec.structs.replace(emit, value=value))
    await write_row(tools, work, ending)
    return sent


async def _finished(
    tools: Tools, work: OpenRecord[RequestBatch], ending: Ending, result: bytes
) -> Awaitable[Written]:
    return await work.emit(
        records.finished(
            ending.member.request,
            ending.call,
            owner=tools.journal.owner,
            batch_id=work.event.batch_id,
            now_ms=tools.clock.now_ms(),
            outcome=ending.outcome,
            result=result,
        )
    )


async def write_row(tools: Tools, work: OpenRecord[RequestBatch], ending: Ending) -> None:
    """Write a call's row of the ledger; of rows with one id the first counts."""
    if ending.price_version is None:
        return
    is_unknown = ending.outcome is AttemptOutcome.UNKNOWN
    await work.emit(
        records.usage_row(
            ending.member.request,
            ending.call,
            price_version=ending.price_version,
            now_ms=tools.clock.now_ms(),
            kind=UsageKind.UNKNOWN if is_unknown else UsageKind.ATTEMPT,
        )
    )


async def end_uncalled(  # noqa: PLR0913  # named, and all of one end
    tools: Tools,
    work: OpenRecord[RequestBatch],
    member: RequestRouted,
    error: PublicError,
    *,
    attempts: int = 0,
    calls: Sequence[ModelCall] = (),
) -> None:
    """End a request without another call; the log remembers it, so that none is made later.

    Args:
        tools: What serving needs.
        work: The batch that the request came in.
        member: The request.
        error: What its caller is told.
        attempts: Number of calls made for it before.
        calls: Those of them that are known.
    """
    request = member.request
    tools.journal.remember(request, attempts=attempts)
    if request.reply_partition != NO_REPLY:
        headers = {**cache_headers(member.cache), **route_headers(member.route)}
        chunk = error_chunk(
            request, error, headers=headers, run=tools.journal.owner, attempt=attempts
        )
        await acknowledged(await work.emit(chunk_emit(request, chunk)))
    now_ms = tools.clock.now_ms()
    terminal = failed(
        request,
        error,
        now_ms=now_ms,
        journey=journey_of_member(work.event, member, calls),
        outcome=outcome_of(error),
    )
    since_ms = round(now_ms - request.accepted_at, 3)
    none = ModelCall(
        attempt=attempts,
        provider="",
        model="",
        started_ms=since_ms,
        finished_ms=since_ms,
        error_code=error.code,
    )
    ending = Ending(member=member, call=none, outcome=AttemptOutcome.FAILED, price_version=None)
    await end_requests(tools, work, [ending], [terminal])


def journey_of_member(
    batch: RequestBatch, member: RequestRouted, calls: Sequence[ModelCall] = ()
) -> Journey:
    """What a member of a batch went through."""
    return Journey(
        hops=member.hops,
        cache=member.cache,
        route=member.route,
        calls=tuple(calls),
        batch_id=batch.batch_id,
        batch_size=len(batch.members),
    )
