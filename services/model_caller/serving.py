"""From the first call for a request to its terminal record: repeat, fall back, split, end."""

import asyncio
from collections.abc import Sequence
from functools import partial

from services.model_caller.call_headers import call_headers
from services.model_caller.calls import OUR_OWN_ENDS, Call, Reply
from services.model_caller.decide import (
    CallFailed,
    GiveUp,
    Retry,
    is_of_one_member,
    next_step,
)
from services.model_caller.embedded_inputs import NO_INPUTS, KnownInputs
from services.model_caller.gates import Pass
from services.model_caller.held import pour
from services.model_caller.members import Members, Stream
from services.model_caller.put_off import final_error, may_come_again, pause_after
from services.model_caller.records import escalation
from services.model_caller.redelivery import targets_to_ask
from services.model_caller.review import AskAgain, AskNext, HandOn, Refuse
from services.model_caller.shared_inputs import Company, company_of
from services.model_caller.stopping import Stop, Stopped
from services.model_caller.together import run_all
from services.model_caller.tools import Tools
from services.model_caller.usage import tokens_of
from services.model_caller.wishes import PATIENCE_MS, Shut, Wish
from services.shared.domain.cancellations import CANCELLED
from services.shared.domain.errors import PublicError
from services.shared.domain.events import (
    AttemptOutcome,
    ModelCall,
    Operation,
    RequestBatch,
    RequestRouted,
    Target,
)
from services.shared.domain.terminal import Answer
from services.shared.ports.work import OpenRecord

SERVICE = "model-caller"
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
        self._tools = tools
        self._work = work
        self._known = known
        self._is_part = is_part
        self._review = tools.review_of(members)
        self._members = Members(
            tools,
            work,
            members,
            history=history,
            attempts=attempts,
            known=known,
            review=self._review,
        )
        self._request = members[0].request
        self._stop = Stop()
        self._is_doubtful = False
        self._is_starting = False

    def begin(self) -> "Serving":
        """Say that ``run`` follows at once: whoever comes with the same requests has to wait."""
        self._is_starting = True
        following = [attempt + 1 for attempt in self._members.attempts]
        self._tools.journal.begin(self._work, self._members.requests, following)
        return self

    async def run(self) -> None:
        """Call, repeat, fall back, and end."""
        journal, cancels = self._tools.journal, self._tools.cancels
        self._tools.metrics.in_flight += 1
        journal.take(self._work, self._members.requests)
        try:
            for i, request in enumerate(self._members.requests):
                leave = partial(self._members.leaving.leave, i)
                cancels.serve(request, partial(self._cancel, i), leave)
            await self._until_end()
            await self._members.leaving.told()
        finally:
            for request in self._members.requests:
                cancels.served(request)
            journal.leave(self._work, self._members.requests, has_started=not self._is_starting)
            self._tools.metrics.in_flight -= 1

    def _cancel(self, i: int) -> None:
        """A member gives up; a call that it shares goes on for the others."""
        self._members.cancelled.add(i)
        if len(self._members.cancelled) == len(self._members):
            self._stop.ask()

    async def _until_end(self) -> None:
        targets = self._targets_to_ask()
        made = 0
        last: CallFailed | None = None
        while True:
            try:
                enter = partial(self._tools.gates.enter_first, targets, self._wish())
                entry = await self._stop.or_stop(enter)
            except Stopped:
                await self._members.end_uncalled(CANCELLED)
                return
            if isinstance(entry, Shut):
                await self._end_shut(entry, last)
                return
            target = targets[0]
            if not self._members.attempts[0]:
                self._tools.budget.first_call(now_s=self._tools.clock.monotonic_s())
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
            await self._members.close_calls(targets[0])
            await self._split()
            return False
        budget, now_s = self._tools.budget, self._tools.clock.monotonic_s()
        step = next_step(
            failed,
            policy=self._tools.retries,
            attempts_made=made,
            targets_left=len(targets) - 1,
            budget_left=budget.left(now_s=now_s) >= 1,
            is_believed=self._tools.journal.is_believed,
            remaining_ms=self._remaining_ms(),
            jitter=self._tools.jitter(),
        )
        if isinstance(step, GiveUp):
            await self._give_up(targets[0], step, failed)
            return False
        if isinstance(step, Retry):
            budget.repeat(now_s=now_s)  # before anything is awaited: others decide meanwhile
            await self._members.close_calls(targets[0])
            return await self._pause(step)
        await self._members.close_calls(targets.pop(0))
        return True

    async def _give_up(self, target: Target, step: GiveUp, failed: CallFailed) -> None:
        """End the requests, or put off those that may wait as long as the provider asks."""
        pause_ms = pause_after(failed)
        turns = self._members.turns(pause_ms=pause_ms) if pause_ms else []
        has_kept = self._review is not None and self._review.kept is not None
        if has_kept or not any(turns):
            await self._fail(target, step.error, has_output=failed.has_output)
            return
        await self._members.close_calls(target)
        await self._members.put_off(turns, step.error)

    def _targets_to_ask(self) -> list[Target]:
        known = self._tools.journal.find(self._request.request_id)
        targets, is_escalated = targets_to_ask(self._members.routed[0].route.targets, known)
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
        self._members.calls[0][-1] = review.noted(self._members.calls[0][-1])
        match step:
            case HandOn():
                await self._hand_on(step)
                return True
            case Refuse(error=error):
                await self._fail(target, error, has_output=False)
                return True
            case AskNext(score=score):
                attempt, now_ms = self._members.attempts[0], self._tools.clock.now_ms()
                given = escalation(self._request, attempt=attempt, score=score, now_ms=now_ms)
                await self._work.emit(given)
                targets.pop(0)
            case AskAgain():
                pass
        await self._members.close_calls(target, outcome=AttemptOutcome.ANSWERED)
        return False

    async def _hand_on(
        self, given: HandOn, *, outcome: AttemptOutcome = AttemptOutcome.ANSWERED
    ) -> None:
        """Hand on what was held back of an answer; then complete the request."""
        if given.fragments:
            await self._members.leaving.settled()  # from here on the client has his answer
            stream = self._members.open_stream(0, given.target)
            await pour(given.fragments, stream)
            await stream.end()
            self._members.stream = stream
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
            await self._members.end_uncalled(CANCELLED)
            return False
        return True

    def _wish(self) -> Wish:
        return Wish(
            lane=self._request.priority,
            tokens=tokens_of(self._members.requests),
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
        await self._members.put_off(self._members.turns() if may_come_again(last) else [], error)

    async def _split(self) -> None:
        """One bad member fails alone: each half is asked for by itself, and so on."""
        middle = len(self._members) // 2
        halves = (slice(middle), slice(middle, None))
        await run_all(
            Serving(
                self._tools,
                self._work,
                self._members.routed[half],
                self._members.calls[half],
                self._members.attempts[half],
                known=self._known,
                is_part=True,
            ).run()
            for half in halves
        )

    async def _attempt(self, entry: Pass, target: Target, *, targets_left: int) -> Reply:
        self._members.attempts = [attempt + 1 for attempt in self._members.attempts]
        await self._tools.journal.start(
            self._work,
            self._members.requests,
            self._members.attempts,
            target,
            is_first=self._is_starting,
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
            attempt = self._members.attempts[0]
            self._members.stream = self._stream_to_client(target, targets_left=targets_left)
            body = self._review.body if self._review is not None else b""
            call = Call(
                requests=self._members.requests,
                model=target.model,
                headers=call_headers(self._request, service=SERVICE, attempt=attempt),
                deadline_s=self._deadline_s(),
                stop=self._stop,
                body=body,
                known=[self._known.of(request, target) for request in self._members.requests],
                company=entry.wish.company,
                turn=entry.turn,
                marks_prompt=self._tools.marks_prompts(self._request.model),
            )
            reply = await self._tools.sharing.ask(
                entry.service,
                call,
                self._members.stream,
                provider=target.provider,
                now_ms=started_ms,
            )
        self._members.note(target, reply, started_ms)
        return reply

    def _stream_to_client(self, target: Target, *, targets_left: int) -> Stream | None:
        if not self._request.stream or self._request.operation == Operation.EMBEDDINGS:
            return None
        open_stream = partial(self._members.open_stream, 0, target)
        if self._review is not None:
            held = self._review.hold(target, targets_left=targets_left, open_stream=open_stream)
            if held is not None:
                return held
        return open_stream()

    def _deadline_s(self) -> float:
        return asyncio.get_running_loop().time() + max(0.0, self._remaining_ms()) / 1000

    def _remaining_ms(self) -> float:
        deadline_at = min(request.deadline_at or _NEVER for request in self._members.requests)
        return deadline_at - self._tools.clock.now_ms()

    async def _complete(
        self,
        target: Target,
        answers: Sequence[Answer],
        *,
        outcome: AttemptOutcome = AttemptOutcome.ANSWERED,
    ) -> None:
        await self._members.complete(
            target,
            answers,
            outcome=outcome,
            is_doubtful=self._is_doubtful,
        )

    async def _fail(self, target: Target, error: PublicError, *, has_output: bool) -> None:
        kept = None if has_output else self._kept(error)
        if kept is not None:
            await self._hand_on(kept, outcome=AttemptOutcome.FAILED)
            return
        await self._members.fail(target, error, has_output=has_output)
