"""A request that comes again: answer it from the log, wait for whoever is at it, or go on."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import msgspec

from services.model_caller.answers import Malformed, ProviderError
from services.model_caller.attempt_index import OpenAttempt
from services.model_caller.chunk_answers import answer_of_chunks
from services.model_caller.ending import (
    Ending,
    close_call,
    end_requests,
    journey_of_member,
    outcome_of,
    write_row,
)
from services.model_caller.gathering import Gathered
from services.model_caller.redelivery import (
    VANISHED,
    CallAgain,
    EndWith,
    Park,
    Recover,
    Replay,
    Serve,
    Settle,
    after_vanishing,
    call_that_ended,
    on_delivery,
    was_left,
)
from services.model_caller.serving import Serving
from services.model_caller.together import acknowledged
from services.model_caller.tools import Tools
from services.shared.codec.headers import ATTEMPT, attempts_from
from services.shared.codec.records import decode_record
from services.shared.domain.cancellations import CANCELLED
from services.shared.domain.errors import PublicError, Unavailable
from services.shared.domain.events import (
    AttemptOutcome,
    InferenceFinished,
    ModelCall,
    ModelCallAttempt,
    RequestBatch,
    RequestRouted,
    ResultChunk,
)
from services.shared.domain.evidence import cache_headers, route_headers
from services.shared.domain.ids import NO_REPLY
from services.shared.domain.money import Price, cost_nanousd
from services.shared.domain.terminal import (
    Journey,
    chunk_emit,
    completed,
    emits_for_expiry,
    error_chunk,
    failed,
    left_to_others,
    terminal_emit,
)
from services.shared.ports.attempts import Place
from services.shared.ports.work import OpenRecord

_LOG = logging.getLogger(__name__)
_AGAIN_S = 0.5
_TOO_LATE = PublicError(
    code="deadline_exceeded",
    message="The request's deadline passed while nobody knew what had become of its call.",
)

T = TypeVar("T")


class LookUps:
    """What is looked up of requests that come again, for many of them together."""

    def __init__(self, tools: Tools) -> None:
        """Use the logs."""
        self._tools = tools
        self.attempts: Gathered[Place, ModelCallAttempt] = Gathered(tools.log.read)
        self.chunks: Gathered[tuple[str, int, int], Sequence[ResultChunk]] = Gathered(self._chunks)

    async def _chunks(
        self, wanted: Sequence[tuple[str, int, int]]
    ) -> Mapping[tuple[str, int, int], Sequence[ResultChunk]]:
        """Chunks by request id, reply partition, and when the call began, unix ms."""
        found = await self._tools.chunks.chunks_of(
            {request_id: partition for request_id, partition, _ in wanted},
            since_ms=min(began_ms for _, _, began_ms in wanted),
        )
        return {key: found.get(key[0], ()) for key in wanted}


class Resuming:
    """One request that calls were made for before."""

    def __init__(
        self,
        tools: Tools,
        work: OpenRecord[RequestBatch],
        member: RequestRouted,
        look_ups: LookUps,
    ) -> None:
        """Prepare."""
        self._tools = tools
        self._work = work
        self._member = member
        self._request = member.request
        self._look_ups = look_ups
        self._history: list[ModelCall] = []
        self._put_off_after = attempts_from(work.headers.get(ATTEMPT))
        self._is_informed = not self._put_off_after
        self._is_left = False

    async def run(self) -> None:
        """Bring the request to its end, or see that somebody else has."""
        while not await self._step():
            pass

    async def _step(self) -> bool:
        """Do what there is to do now; whether that was all."""
        journal, request_id = self._tools.journal, self._request.request_id
        if not self._is_informed:  # whoever has the partition of its batch may have gone on with it
            partition = self._work.partition
            news = await self._patiently(lambda: journal.catch_up(partition))
            self._is_informed = news is not None
            return not self._is_informed and await self._expire_if_due()
        known = journal.find(request_id)
        is_gone = isinstance(known, OpenAttempt) and journal.owner_is_gone(request_id, known)
        is_gone = is_gone and journal.is_ours(self._work)  # else whoever has it now decides
        match on_delivery(known, owner_is_gone=is_gone, put_off_after=self._put_off_after):
            case Replay(offset=offset):
                return await self._replay(offset)
            case Park():
                return await self._park()
            case Settle(last=last):
                return await self._settle(last)
            case Serve(attempts=attempts):
                return await self._expire_if_due() or await self._serve(attempts)

    async def _serve(self, attempts: int) -> bool:
        history = [self._history]
        serving = Serving(self._tools, self._work, [self._member], history, [attempts])
        await serving.begin().run()
        return True

    # -- it was ended ----------------------------------------------------------------------------

    async def _replay(self, offset: int) -> bool:
        """The process that ended it may have died before its terminal record or row was written."""
        place = (self._work.partition, offset)
        attempt = await self._patiently(lambda: self._look_ups.attempts.get(place))
        if attempt is None:
            return await self._expire_if_due()
        terminal = decode_record(attempt.result, InferenceFinished)
        again = terminal_emit(self._request, terminal)
        await self._work.emit(msgspec.structs.replace(again, value=attempt.result))
        if (call := call_that_ended(attempt, terminal)) is not None:
            outcome = AttemptOutcome(attempt.outcome)
            await write_row(self._tools, self._work, self._ending(call, outcome))
        return True

    # -- somebody is at it -----------------------------------------------------------------------

    async def _park(self) -> bool:
        news = self._tools.journal.news
        request_id, partition = self._request.request_id, self._work.partition
        await self._patiently(lambda: news(request_id, partition))
        return await self._expire_if_due()

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T | None:
        """Ask a log; None when it does not answer now, or not before the request's deadline."""
        due_ms = self._request.deadline_at
        left_s = (due_ms - self._tools.clock.now_ms()) / 1000 if due_ms else None
        try:
            async with asyncio.timeout(left_s):
                return await ask()
        except TimeoutError:
            return None
        except Unavailable as error:
            _LOG.warning("cannot look up what became of calls", extra={"why": str(error)})
            await asyncio.sleep(_AGAIN_S)
            return None

    async def _expire_if_due(self) -> bool:
        now_ms = self._tools.clock.now_ms()
        if not 0 < self._request.deadline_at <= now_ms:
            return False
        journey = journey_of_member(self._work.event, self._member, self._history)
        for emit in emits_for_expiry(self._request, now_ms=now_ms, journey=journey):
            await acknowledged(await self._work.emit(emit))
        return True

    # -- whoever was at it vanished --------------------------------------------------------------

    async def _settle(self, last: OpenAttempt) -> bool:
        place = (self._work.partition, last.offset)
        started = await self._patiently(lambda: self._look_ups.attempts.get(place))
        if started is None:
            return await self._expire_if_due()
        chunks = await self._chunks_since(started)
        if chunks is None:
            return await self._expire_if_due()
        journal = self._tools.journal
        if not journal.is_ours(self._work) or journal.find(self._request.request_id) != last:
            return False  # meanwhile it went to others, or another copy of it is being served
        vanished = self._vanished(started)
        self._is_left = self._was_left(chunks)
        match after_vanishing(self._tools.on_unknown(self._request.model), chunks):
            case CallAgain():
                return await self._call_again(vanished)
            case EndWith(error=error, is_told=is_told, seq=seq):
                return await self._end_with(vanished, error, is_told=is_told, seq=seq)
            case Recover(chunks=stream):
                return await self._recover(vanished, stream)

    async def _chunks_since(self, started: ModelCallAttempt) -> Sequence[ResultChunk] | None:
        """What reached the client of a vanished call; None = the log does not answer now."""
        request = self._request
        if request.reply_partition == NO_REPLY:
            return ()
        key = (request.request_id, request.reply_partition, started.at)
        return await self._patiently(lambda: self._look_ups.chunks.get(key))

    def _was_left(self, chunks: Sequence[ResultChunk]) -> bool:
        """Whether the caller was told that it is cancelled, while others wait for the answer."""
        if self._request.reply_partition == NO_REPLY:  # there is nobody to be told
            return self._tools.cancels.is_left(self._request)
        return was_left(chunks)

    def _vanished(self, started: ModelCallAttempt) -> ModelCall:
        accepted_at = self._request.accepted_at
        return ModelCall(
            attempt=started.attempt,
            provider=started.provider,
            model=started.model,
            started_ms=float(started.at - accepted_at),
            finished_ms=round(self._tools.clock.now_ms() - accepted_at, 3),
            error_code=VANISHED.code,
            cost_nanousd=started.reserved_nanousd,
        )

    async def _call_again(self, vanished: ModelCall) -> bool:
        request = self._request
        if 0 < request.deadline_at <= self._tools.clock.now_ms():
            return await self._end_with(vanished, _TOO_LATE)
        if self._tools.cancels.is_wanted(request):
            return await self._end_with(vanished, CANCELLED)
        _LOG.warning(
            "calling again: nobody knows how the last call ended",
            extra={"request_id": request.request_id, "attempt": vanished.attempt},
        )
        self._history.append(vanished)
        serving = Serving(
            self._tools, self._work, [self._member], [self._history], [vanished.attempt]
        ).begin()
        await close_call(self._tools, self._work, self._ending(vanished, AttemptOutcome.UNKNOWN))
        await serving.run()
        return True

    async def _end_with(
        self, vanished: ModelCall, error: PublicError, *, is_told: bool = False, seq: int = 0
    ) -> bool:
        request, owner = self._request, self._tools.journal.owner
        if request.reply_partition != NO_REPLY and not is_told:
            headers = {**cache_headers(self._member.cache), **route_headers(self._member.route)}
            chunk = error_chunk(
                request, error, headers=headers, run=owner, attempt=vanished.attempt, seq=seq
            )
            await acknowledged(await self._work.emit(chunk_emit(request, chunk)))
        if self._is_left:
            error = CANCELLED
        terminal = failed(
            request,
            error,
            now_ms=self._tools.clock.now_ms(),
            journey=self._journey(vanished),
            outcome=outcome_of(error),
        )
        return await self._end(vanished, terminal, AttemptOutcome.UNKNOWN)

    async def _recover(self, vanished: ModelCall, stream: Sequence[ResultChunk]) -> bool:
        try:
            answer = answer_of_chunks(self._request, stream)
        except (Malformed, ProviderError):
            return await self._end_with(vanished, VANISHED, is_told=True)
        cost = cost_nanousd(answer.usage, self._price(vanished))
        call = msgspec.structs.replace(
            vanished, error_code="", usage=answer.usage, cost_nanousd=cost
        )
        terminal = completed(
            self._request,
            answer,
            now_ms=self._tools.clock.now_ms(),
            journey=self._journey(call),
        )
        if self._is_left:
            terminal = left_to_others(terminal)
        return await self._end(call, terminal, AttemptOutcome.ANSWERED)

    async def _end(self, call: ModelCall, end: InferenceFinished, outcome: AttemptOutcome) -> bool:
        await end_requests(self._tools, self._work, [self._ending(call, outcome)], [end])
        return True

    def _ending(self, call: ModelCall, outcome: AttemptOutcome) -> Ending:
        price_version = self._price(call).version
        return Ending(member=self._member, call=call, outcome=outcome, price_version=price_version)

    def _journey(self, call: ModelCall) -> Journey:
        return journey_of_member(self._work.event, self._member, [*self._history, call])

    def _price(self, call: ModelCall) -> Price:
        """What the router said of a target, if it still says so."""
        for target in self._member.route.targets:
            if (target.provider, target.model) == (call.provider, call.model):
                return target.price
        return Price()
