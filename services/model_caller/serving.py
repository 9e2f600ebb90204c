"""From the first call for a request to its terminal record: repeat, fall back, split, end."""

import asyncio
from collections.abc import Sequence
from functools import partial

from services.model_caller.call_headers import call_headers
from services.model_caller.call_record import CallTimes, call_record
from services.model_caller.calls import OUR_OWN_ENDS, Call, Reply
from services.model_caller.chunks import ChunkStream
from services.model_caller.decide import (
    CallFailed,
    GiveUp,
    Retry,
    is_of_one_member,
    next_step,
)
from services.model_caller.embedded_inputs import NO_INPUTS, KnownInputs
from services.model_caller.ending import (
    Ending,
    close_call,
    end_requests,
    end_uncalled,
    journey_of_member,
    outcome_of,
)
from services.model_caller.gates import Pass
from services.model_caller.held import Held, pour
from services.model_caller.leaving import Leaving
from services.model_caller.put_off import final_error, may_come_again, next_turn, pause_after
from services.model_caller.records import escalation
from services.model_caller.redelivery import targets_to_ask
from services.model_caller.review import AskAgain, AskNext, HandOn, Refuse, not_stored
from services.model_caller.shared_inputs import Company, company_of
from services.model_caller.stopping import Stop, Stopped
from services.model_caller.together import acknowledged, run_all
from services.model_caller.tools import Tools
from services.model_caller.usage import tokens_of
from services.model_caller.wishes import PATIENCE_MS, Shut, Wish
from services.shared.domain.cancellations import CANCELLED
from services.shared.domain.emit import Emit
from services.shared.domain.errors import PublicError
from services.shared.domain.events import (
    AttemptOutcome,
    InferenceFinished,
    ModelCall,
    Operation,
    RequestBatch,
    RequestRouted,
    Target,
)
from services.shared.domain.evidence import cache_headers, route_headers
from services.shared.domain.ids import NO_REPLY
from services.shared.domain.terminal import (
    Answer,
    Journey,
    chunk_emit,
    completed,
    failed,
    leaving_chunk,
    left_to_others,
)
from services.shared.ports.work import OpenRecord

SERVICE = "model-caller"
_GATHER_S = (0.025, 0.05)
_MANY_CALLS = 64
_NEVER = 1 << 53


class Serving:
    """The calls for one request, or for several that share a merged call."""

    def __init__(  # noqa: PLR0913  # named, and all of one serving
        self,
        tools: Tools,
        work: OpenRecord[RequestBatch],
        members: Sequence[RequestRouted],
        history: Sequence[Sequence[ModelCall]] = (),
        attempts: Sequence[int] = (),
        *,
        known: KnownInputs = NO_INPUTS,
        is_part: bool = False,
    ) -> None:
        """Prepare.

        Args:
            tools: What every serving uses.
            work: The batch they came in.
            members: The requests; their targets are the same.
            history: Calls made for each of them before, as far as they are known.
            attempts: Number of calls made for each of them before.
            known: What was found of their inputs, where they are embeddings requests.
            is_part: Whether they were part of more whose call failed for one of them: then their
                calls are not shared with others.
        """
        self._known = known
        self._is_part = is_part
        self._tools = tools
        self._work = work
        self._members = members
        self._requests = [member.request for member in members]
        self._request = members[0].request
        self._calls = [list(calls) for calls in history] or [[] for _ in members]
        self._attempts = list(attempts) or [0] * len(members)
        self._chunks: ChunkStream | Held | None = None
        self._review = tools.review_of(members)
        self._stop = Stop()
        self._cancelled: set[int] = set()
        self._leaving = Leaving(self._tell_left)
        self._is_doubtful = False
        self._is_starting = False

    def begin(self) -> "Serving":
        """Say that ``run`` follows at once: whoever comes with the same requests has to wait."""
        self._is_starting = True
        following = [attempt + 1 for attempt in self._attempts]
        self._tools.journal.begin(self._work, self._requests, following)
        return self

    async def run(self) -> None:
        """Call, repeat, fall back, and end."""
        journal, cancels = self._tools.journal, self._tools.cancels
        self._tools.metrics.in_flight += 1
        journal.take(self._work, self._requests)
        try:
            for i, request in enumerate(self._requests):
                leave = partial(self._leaving.leave, i)
                cancels.serve(request, partial(self._cancel, i), leave)
            await self._until_end()
            await self._leaving.told()
        finally:
            for request in self._requests:
                cancels.served(request)
            journal.leave(self._work, self._requests, has_started=not self._is_starting)
            self._tools.metrics.in_flight -= 1

    def _cancel(self, i: int) -> None:
        """A member gives up; a call that it shares goes on for the others."""
        self._cancelled.add(i)
        if len(self._cancelled) == len(self._members):
            self._stop.ask()

    async def _tell_left(self, i: int) -> None:
        """A member is over for its caller; its call goes on for those that joined it."""
        member = self._members[i]
        if member.request.reply_partition != NO_REPLY:
            chunk = leaving_chunk(
                member.request,
                headers={**cache_headers(member.cache), **route_headers(member.route)},
                attempt=self._attempts[i],
            )
            await acknowledged(await self._work.emit(chunk_emit(member.request, chunk)))

    def _is_over(self, i: int) -> bool:
        """Whether a member is cancelled for its caller, whatever becomes of its call."""
        return i in self._cancelled or i in self._leaving

    async def _until_end(self) -> None:
        targets = self._targets_to_ask()
        made = 0
        last: CallFailed | None = None
        while True:
            try:
                enter = partial(self._tools.gates.enter_first, targets, self._wish())
                entry = await self._stop.or_stop(enter)
            except Stopped:
                await self._end_uncalled(CANCELLED)
                return
            if isinstance(entry, Shut):
                await self._end_shut(entry, last)
                return
            target = targets[0]
            if not self._attempts[0]:
                self._tools.budget.first_call()
            made += 1
            with entry:
                reply = entry.learn(
                    await self._attempt(entry, target, targets_left=len(targets) - 1)
                )
            self._tools.pass_by("after_call")
            if not isinstance(reply.result, CallFailed):
                if await self._is_settled_by(reply.result, targets):
                    return
                made -= 1  # it did not fail: the next target has all its attempts
                continue
            last = reply.result
            if not await self._goes_on(last, made, targets):
                return

    async def _goes_on(self, failed: CallFailed, made: int, targets: list[Target]) -> bool:
        """Follow a failed call: wait, leave its target, split, or end the requests."""
        if len(self._members) > 1 and is_of_one_member(failed):
            await self._close_calls(targets[0])
            await self._split()
            return False
        step = next_step(
            failed,
            policy=self._tools.retries,
            attempts_made=made,
            targets_left=len(targets) - 1,
            budget_left=self._tools.budget.is_left and self._tools.journal.is_believed,
            remaining_ms=self._remaining_ms(),
            jitter=self._tools.jitter(),
        )
        if isinstance(step, GiveUp):
            await self._give_up(targets[0], step, failed)
            return False
        self._tools.budget.extra_call()  # before anything is awaited: others decide meanwhile
        await self._close_calls(targets[0])
        if isinstance(step, Retry):
            return await self._pause(step)
        targets.pop(0)
        return True

    async def _give_up(self, target: Target, step: GiveUp, failed: CallFailed) -> None:
        """End the requests, or put off those that may wait as long as the provider asks."""
        pause_ms = pause_after(failed)
        turns = self._turns(pause_ms=pause_ms) if pause_ms else []
        has_kept = self._review is not None and self._review.kept is not None
        if has_kept or not any(turns):
            await self._fail(target, step.error, has_output=failed.has_output)
            return
        await self._close_calls(target)
        await self._put_off(turns, step.error)

    def _targets_to_ask(self) -> list[Target]:
        known = self._tools.journal.find(self._request.request_id)
        targets, is_escalated = targets_to_ask(self._members[0].route.targets, known)
        if is_escalated and self._review is not None:
            self._review.resumed()
        return targets

    async def _is_settled_by(self, answers: Sequence[Answer], targets: list[Target]) -> bool:
        """Hand answers on; False when a review sends the request on to another call."""
        review, target = self._review, targets[0]
        if review is None or len(answers) > 1:
            await self._complete(target, answers)
            return True
        step = await review.settle(answers[0], target, targets_left=len(targets) - 1)
        self._calls[0][-1] = review.noted(self._calls[0][-1])
        match step:
            case HandOn():
                await self._hand_on(step)
                return True
            case Refuse(error=error):
                await self._fail(target, error, has_output=False)
                return True
            case AskNext(score=score):
                attempt, now_ms = self._attempts[0], self._tools.clock.now_ms()
                given = escalation(self._request, attempt=attempt, score=score, now_ms=now_ms)
                await self._work.emit(given)
                targets.pop(0)
            case AskAgain():
                pass
        await self._close_calls(target, outcome=AttemptOutcome.ANSWERED)
        return False

    async def _hand_on(
        self, given: HandOn, *, outcome: AttemptOutcome = AttemptOutcome.ANSWERED
    ) -> None:
        """Hand on what was held back of an answer; then complete the request."""
        if given.fragments:
            stream = self._chunk_stream(self._members[0], given.target, self._attempts[0])
            await pour(given.fragments, stream)
            await stream.end()
            self._chunks = stream
        self._is_doubtful = given.is_doubtful
        await self._complete(given.target, [given.answer], outcome=outcome)

    def _kept(self, error: PublicError) -> HandOn | None:
        """A doubtful answer that is better than this error; None = there is none."""
        if self._review is None or error.code in OUR_OWN_ENDS:
            return None
        return self._review.keep()

    async def _pause(self, step: Retry) -> bool:
        """Wait before a repetition; False when the requests were cancelled meanwhile."""
        try:
            await self._stop.or_stop(partial(asyncio.sleep, step.wait_ms / 1000))
        except Stopped:
            await self._end_uncalled(CANCELLED)
            return False
        return True

    def _wish(self) -> Wish:
        return Wish(
            lane=self._request.priority,
            tokens=tokens_of(self._requests),
            patience_ms=min(PATIENCE_MS, max(0.0, self._remaining_ms())),
            company=self._company(),
        )

    def _company(self) -> Company | None:
        is_own = self._is_part or (self._review is not None and self._review.body)
        return company_of(self._request) if self._work.event.merge and not is_own else None

    async def _end_shut(self, shut: Shut, last: CallFailed | None) -> None:
        """No target lets a call in: tell how the last one failed, or put the requests off."""
        error = final_error(shut, last, remaining_ms=self._remaining_ms())
        if (kept := self._kept(error)) is not None:
            await self._hand_on(kept, outcome=AttemptOutcome.FAILED)
            return
        await self._put_off(self._turns() if may_come_again(last) else [], error)

    def _turns(self, *, pause_ms: int = 0) -> list[Emit | None]:
        """The records by which the requests come again; None for who has no time to wait."""
        now_ms = self._tools.clock.now_ms()
        return [
            next_turn(
                member,
                headers=self._work.headers,
                now_ms=now_ms,
                attempts=attempts,
                pause_ms=pause_ms,
            )
            for member, attempts in zip(self._members, self._attempts, strict=True)
        ]

    async def _put_off(self, turns: Sequence[Emit | None], error: PublicError) -> None:
        """Let requests come again that have a turn; end the others."""
        for i, member in enumerate(self._members):
            emit = turns[i] if turns else None
            if emit is None or self._is_over(i):
                await self._end_one_uncalled(i, CANCELLED if self._is_over(i) else error)
            else:
                await acknowledged(await self._work.emit(emit))
                self._tools.journal.put_off(member.request, attempts=self._attempts[i])

    async def _end_uncalled(self, error: PublicError) -> None:
        """End the requests without another call."""
        for i in range(len(self._members)):
            await self._end_one_uncalled(i, CANCELLED if self._is_over(i) else error)

    async def _end_one_uncalled(self, i: int, error: PublicError) -> None:
        member, calls = self._members[i], self._calls[i]
        await end_uncalled(
            self._tools, self._work, member, error, attempts=self._attempts[i], calls=calls
        )

    async def _split(self) -> None:
        """One bad member fails alone: each half is asked for by itself, and so on."""
        middle = len(self._members) // 2
        halves = (slice(middle), slice(middle, None))
        await run_all(
            Serving(
                self._tools,
                self._work,
                self._members[half],
                self._calls[half],
                self._attempts[half],
                known=self._known,
                is_part=True,
            ).run()
            for half in halves
        )

    async def _attempt(self, entry: Pass, target: Target, *, targets_left: int) -> Reply:
        self._attempts = [attempt + 1 for attempt in self._attempts]
        await self._tools.journal.start(
            self._work, self._requests, self._attempts, target, is_first=self._is_starting
        )
        self._is_starting = False
        self._tools.pass_by("after_started")
        started_ms = self._tools.clock.now_ms()
        if entry.service is None:
            unknown = PublicError(
                code="provider_error", message="The target's provider is not configured here."
            )
            reply = Reply(result=CallFailed(error=unknown, is_retriable=False))
        else:
            attempt = self._attempts[0]
            self._chunks = self._stream_to_client(target, attempt, targets_left=targets_left)
            body = self._review.body if self._review is not None else b""
            call = Call(
                requests=self._requests,
                model=target.model,
                headers=call_headers(self._request, service=SERVICE, attempt=attempt),
                deadline_s=self._deadline_s(),
                stop=self._stop,
                body=body,
                known=[self._known.of(request, target) for request in self._requests],
                company=entry.wish.company,
                turn=entry.turn,
                marks_prompt=self._tools.marks_prompts(self._request.model),
            )
            reply = await self._tools.sharing.ask(
                entry.service, call, self._chunks, provider=target.provider, now_ms=started_ms
            )
        self._note(target, reply, started_ms)
        return reply

    def _stream_to_client(
        self, target: Target, attempt: int, *, targets_left: int
    ) -> ChunkStream | Held | None:
        if not self._request.stream or self._request.operation == Operation.EMBEDDINGS:
            return None
        open_stream = partial(self._chunk_stream, self._members[0], target, attempt)
        if self._review is not None:
            held = self._review.hold(target, targets_left=targets_left, open_stream=open_stream)
            if held is not None:
                return held
        return open_stream()

    def _chunk_stream(self, member: RequestRouted, target: Target, attempt: int) -> ChunkStream:
        return ChunkStream(
            member.request,
            run=self._tools.journal.owner,
            attempt=attempt,
            headers={
                **cache_headers(member.cache),
                **self._known.headers(member.request, target),
                **route_headers(member.route, target),
                "x-millrace-attempts": str(attempt),
                **(self._review.headers if self._review is not None else {}),
            },
            gather_s=_GATHER_S[self._tools.metrics.in_flight > _MANY_CALLS],
            send=self._work.emit,
            pass_by=self._tools.first_chunk,
        )

    def _deadline_s(self) -> float:
        return asyncio.get_running_loop().time() + max(0.0, self._remaining_ms()) / 1000

    def _remaining_ms(self) -> float:
        deadline_at = min(member.request.deadline_at or _NEVER for member in self._members)
        return deadline_at - self._tools.clock.now_ms()

    def _note(self, target: Target, reply: Reply, started_ms: float) -> None:
        now_ms = self._tools.clock.now_ms()
        output_ms = -1.0
        if reply.first_output_s is not None:
            ago_s = asyncio.get_running_loop().time() - reply.first_output_s
            output_ms = now_ms - ago_s * 1000
        times = CallTimes(started_ms, output_ms, now_ms)
        self._tools.metrics.note(
            target,
            reply,
            duration_s=(now_ms - started_ms) / 1000,
            output_s=(output_ms - started_ms) / 1000,
        )
        for i, request in enumerate(self._requests):
            call = call_record(request, target, reply, i, times=times, attempt=self._attempts[i])
            self._calls[i].append(call)
            self._tools.metrics.saved(target, call.saved_nanousd)

    async def _close_calls(
        self, target: Target, *, outcome: AttemptOutcome = AttemptOutcome.FAILED
    ) -> None:
        """The calls are over; what becomes of the requests is still open."""
        for member, calls in zip(self._members, self._calls, strict=True):
            ending = Ending(
                member=member,
                call=calls[-1],
                outcome=outcome,
                price_version=target.price.version,
            )
            await close_call(self._tools, self._work, ending)

    async def _complete(
        self,
        target: Target,
        answers: Sequence[Answer],
        *,
        outcome: AttemptOutcome = AttemptOutcome.ANSWERED,
    ) -> None:
        left = await self._leaving.told()
        gone = self._cancelled if len(self._members) > 1 else set()
        streams: list[ChunkStream | Held] = []
        for i, (member, answer) in enumerate(zip(self._members, answers, strict=True)):
            stream = self._chunks
            if stream is None:
                stream = self._chunk_stream(member, target, self._attempts[i])
                if i not in left:  # who has left was told so
                    await (stream.fail(CANCELLED) if i in gone else stream.end(answer.response))
            streams.append(stream)
        terminals = [
            self._failed(i, CANCELLED)
            if i in gone
            else self._completed(i, answer, is_left=i in left)
            for i, answer in enumerate(answers)
        ]
        await self._end(target, streams, terminals, outcome=outcome)

    async def _fail(self, target: Target, error: PublicError, *, has_output: bool) -> None:
        kept = None if has_output else self._kept(error)
        if kept is not None:
            await self._hand_on(kept, outcome=AttemptOutcome.FAILED)
            return
        streams: list[ChunkStream | Held] = []
        terminals = []
        for i, member in enumerate(self._members):
            own = CANCELLED if self._is_over(i) else error
            stream = self._chunks
            if stream is None or not has_output:
                stream = self._chunk_stream(member, target, self._attempts[i])
            await stream.fail(error if i in self._leaving else own)  # who follows it still reads
            streams.append(stream)
            terminals.append(self._failed(i, own))
        await self._end(target, streams, terminals, outcome=AttemptOutcome.FAILED)

    async def _end(
        self,
        target: Target,
        streams: Sequence[ChunkStream | Held],
        terminals: Sequence[InferenceFinished],
        *,
        outcome: AttemptOutcome,
    ) -> None:
        """Write the ends, once the clients have what is theirs; then wait until they are durable.

        Args:
            target: Who was called last.
            streams: What clients get.
            terminals: The terminal records.
            outcome: How the last calls ended.
        """
        for stream in streams:
            await stream.acknowledged()
        self._tools.pass_by("before_terminal")
        endings = [
            Ending(
                member=member,
                call=self._calls[i][-1],
                outcome=outcome,
                price_version=target.price.version,
            )
            for i, member in enumerate(self._members)
        ]
        await end_requests(self._tools, self._work, endings, terminals)

    def _completed(self, i: int, answer: Answer, *, is_left: bool) -> InferenceFinished:
        now_ms = self._tools.clock.now_ms()
        terminal = completed(self._requests[i], answer, now_ms=now_ms, journey=self._journey(i))
        if is_left:
            terminal = left_to_others(terminal)
        return not_stored(terminal) if self._is_doubtful else terminal

    def _failed(self, i: int, error: PublicError) -> InferenceFinished:
        return failed(
            self._requests[i],
            error,
            now_ms=self._tools.clock.now_ms(),
            journey=self._journey(i),
            outcome=outcome_of(error),
        )

    def _journey(self, i: int) -> Journey:
        return journey_of_member(self._work.event, self._members[i], self._calls[i])
