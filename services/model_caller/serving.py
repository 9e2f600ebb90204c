"""From the first call for a request to its terminal record: repeat, fall back, split, end."""

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from services.model_caller.calls import Call, Reply, ask
from services.model_caller.chunks import ChunkStream
from services.model_caller.decide import (
    CallFailed,
    GiveUp,
    Retry,
    RetryBudget,
    is_of_one_member,
    next_step,
)
from services.model_caller.gates import Gates, Pass
from services.model_caller.metrics import CallMetrics
from services.model_caller.put_off import emits_when_shut, final_error
from services.model_caller.together import run_all
from services.model_caller.usage import tokens_of
from services.model_caller.wishes import PATIENCE_MS, Shut, Wish
from services.shared.domain.configuration import Retries
from services.shared.domain.emit import Emit
from services.shared.domain.errors import PublicError
from services.shared.domain.events import (
    ModelCall,
    Operation,
    Outcome,
    RequestBatch,
    RequestRouted,
    Target,
)
from services.shared.domain.evidence import cache_headers, route_headers
from services.shared.domain.ids import NO_REPLY
from services.shared.domain.money import cost_nanousd
from services.shared.domain.terminal import (
    Answer,
    Journey,
    completed,
    emits_for_failure,
    failed,
    terminal_emit,
)
from services.shared.domain.tracing import (
    TraceContext,
    read_traceparent,
    request_context,
    span_id_for,
    traceparent,
)
from services.shared.ports.clock import Clock
from services.shared.ports.work import OpenRecord

SERVICE = "model-caller"
_GATHER_S = (0.025, 0.05)
_MANY_CALLS = 64
_NEVER = 1 << 53


class Tools(msgspec.Struct, frozen=True, kw_only=True):
    """What every serving uses.

    Attributes:
        run: Unique to this process.
        gates: The way to the providers.
        retries: Limits of repetition.
        budget: Extra calls that the process may still spend.
        clock: The time.
        jitter: Random numbers in [0, 1).
        metrics: Where calls are counted.
    """

    run: str
    gates: Gates
    retries: Retries
    budget: RetryBudget
    clock: Clock
    jitter: Callable[[], float]
    metrics: CallMetrics


class Serving:
    """The calls for one request, or for several that share a merged call."""

    def __init__(
        self,
        tools: Tools,
        work: OpenRecord[RequestBatch],
        members: Sequence[RequestRouted],
        history: Sequence[Sequence[ModelCall]] = (),
    ) -> None:
        """Prepare.

        Args:
            tools: What every serving uses.
            work: The batch they came in.
            members: The requests; their targets are the same.
            history: Calls made for each of them before.
        """
        self._tools = tools
        self._work = work
        self._members = members
        self._request = members[0].request
        self._calls = [list(calls) for calls in history] or [[] for _ in members]
        self._chunks: ChunkStream | None = None

    async def run(self) -> None:
        """Call, repeat, fall back, and end."""
        self._tools.metrics.in_flight += 1
        try:
            await self._until_end()
        finally:
            self._tools.metrics.in_flight -= 1

    async def _until_end(self) -> None:
        targets = list(self._members[0].route.targets)
        attempts = 0
        last: CallFailed | None = None
        while True:
            entry = await self._tools.gates.enter_first(targets, self._wish())
            if isinstance(entry, Shut):
                await self._end_shut(entry, last)
                return
            target = targets[0]
            if not self._calls[0]:
                self._tools.budget.first_call()
            attempts += 1
            with entry:
                reply = entry.learn(await self._attempt(entry, target, len(self._calls[0]) + 1))
            if not isinstance(reply.result, CallFailed):
                await self._complete(target, reply.result)
                return
            if len(self._members) > 1 and is_of_one_member(reply.result):
                await self._split()
                return
            last = reply.result
            if not await self._goes_on(last, attempts, targets):
                return

    async def _goes_on(self, failed: CallFailed, attempts: int, targets: list[Target]) -> bool:
        """Follow a failed call: wait, leave its target, or end the request."""
        step = next_step(
            failed,
            policy=self._tools.retries,
            attempts_made=attempts,
            targets_left=len(targets) - 1,
            budget_left=self._tools.budget.is_left,
            remaining_ms=self._remaining_ms(),
            jitter=self._tools.jitter(),
        )
        if isinstance(step, GiveUp):
            await self._fail(step.error, has_output=failed.has_output)
            return False
        self._tools.budget.extra_call()  # before the wait: others decide meanwhile
        if isinstance(step, Retry):
            await asyncio.sleep(step.wait_ms / 1000)
        else:
            targets.pop(0)
        return True

    def _wish(self) -> Wish:
        requests = [member.request for member in self._members]
        return Wish(
            lane=self._request.priority,
            tokens=tokens_of(requests),
            patience_ms=min(PATIENCE_MS, max(0.0, self._remaining_ms())),
        )

    async def _end_shut(self, shut: Shut, last: CallFailed | None) -> None:
        """No target lets a call in: tell how the last one failed, or put the requests off."""
        remaining_ms = self._remaining_ms()
        error = final_error(shut, last, has_calls=bool(self._calls[0]), remaining_ms=remaining_ms)
        if error is not None:
            await self._fail(error, has_output=False)
            return
        for i, member in enumerate(self._members):
            journey = journey_of_member(self._work.event, member, self._calls[i])
            for emit in emits_when_shut(
                member,
                shut,
                headers=self._work.headers,
                journey=journey,
                now_ms=self._tools.clock.now_ms(),
            ):
                await self._work.emit(emit)

    async def _split(self) -> None:
        """One bad member fails alone: each half is asked for by itself, and so on."""
        middle = len(self._members) // 2
        halves = (slice(middle), slice(middle, None))
        await run_all(
            Serving(self._tools, self._work, self._members[half], self._calls[half]).run()
            for half in halves
        )

    async def _attempt(self, entry: Pass, target: Target, attempt: int) -> Reply:
        service = entry.service
        started_ms = self._tools.clock.now_ms()
        if service is None:
            unknown = PublicError(
                code="provider_error", message="The target's provider is not configured here."
            )
            reply = Reply(result=CallFailed(error=unknown, is_retriable=False))
        else:
            self._chunks = self._stream_to_client(target, attempt)
            call = Call(
                requests=[member.request for member in self._members],
                model=target.model,
                headers=self._headers(attempt),
                deadline_s=self._deadline_s(),
            )
            reply = await ask(service, call, self._chunks, now_ms=started_ms)
        self._note(target, attempt, reply, started_ms)
        return reply

    def _stream_to_client(self, target: Target, attempt: int) -> ChunkStream | None:
        if not self._request.stream or self._request.operation == Operation.EMBEDDINGS:
            return None
        return self._chunk_stream(self._members[0], target, attempt)

    def _chunk_stream(self, member: RequestRouted, target: Target, attempt: int) -> ChunkStream:
        return ChunkStream(
            member.request,
            run=self._tools.run,
            attempt=attempt,
            headers={
                **cache_headers(member.cache),
                **route_headers(member.route, target),
                "x-millrace-attempts": str(attempt),
            },
            gather_s=_GATHER_S[self._tools.metrics.in_flight > _MANY_CALLS],
            send=self._work.emit,
        )

    def _headers(self, attempt: int) -> dict[str, str]:
        request = self._request
        span = span_id_for(request.request_id, SERVICE, attempt)
        caller = read_traceparent(request.traceparent)
        context = request_context(request.request_id, caller)
        headers = {
            "traceparent": traceparent(
                TraceContext(
                    trace_id=context.trace_id, parent_id=span, is_sampled=context.is_sampled
                )
            ),
            "x-millrace-attempt-id": f"{request.request_id}-{attempt}",
        }
        if request.tracestate:
            headers["tracestate"] = request.tracestate
        return headers

    def _deadline_s(self) -> float:
        return asyncio.get_running_loop().time() + max(0.0, self._remaining_ms()) / 1000

    def _remaining_ms(self) -> float:
        deadline_at = min(member.request.deadline_at or _NEVER for member in self._members)
        return deadline_at - self._tools.clock.now_ms()

    def _note(self, target: Target, attempt: int, reply: Reply, started_ms: float) -> None:
        now_ms = self._tools.clock.now_ms()
        output_ms = -1.0
        if reply.first_output_s is not None:
            ago_s = asyncio.get_running_loop().time() - reply.first_output_s
            output_ms = now_ms - ago_s * 1000
        self._tools.metrics.note(
            target,
            reply,
            duration_s=(now_ms - started_ms) / 1000,
            output_s=(output_ms - started_ms) / 1000,
        )
        for i, member in enumerate(self._members):
            accepted_at = member.request.accepted_at
            call = ModelCall(
                attempt=attempt,
                provider=target.provider,
                model=target.model,
                started_ms=round(started_ms - accepted_at, 3),
                first_chunk_ms=-1.0 if output_ms < 0 else round(output_ms - accepted_at, 3),
                finished_ms=round(now_ms - accepted_at, 3),
                error_code=(
                    reply.result.error.code if isinstance(reply.result, CallFailed) else ""
                ),
                upstream_status=reply.status,
                upstream_request_id=reply.upstream_request_id,
            )
            usage = reply.billed if isinstance(reply.result, CallFailed) else reply.result[i].usage
            cost = cost_nanousd(usage, target.price)
            call = msgspec.structs.replace(call, usage=usage, cost_nanousd=cost)
            self._calls[i].append(call)

    async def _complete(self, target: Target, answers: Sequence[Answer]) -> None:
        for i, (member, answer) in enumerate(zip(self._members, answers, strict=True)):
            request = member.request
            if self._chunks is None and request.reply_partition != NO_REPLY:
                attempt = self._calls[i][-1].attempt
                await self._chunk_stream(member, target, attempt).end(answer.response)
            journey = journey_of_member(self._work.event, member, self._calls[i])
            terminal = completed(
                request, answer, now_ms=self._tools.clock.now_ms(), journey=journey
            )
            await self._work.emit(terminal_emit(request, terminal))

    async def _fail(self, error: PublicError, *, has_output: bool) -> None:
        now_ms = self._tools.clock.now_ms()
        outcome = Outcome.EXPIRED if error.code == "deadline_exceeded" else Outcome.FAILED
        for i, member in enumerate(self._members):
            journey = journey_of_member(self._work.event, member, self._calls[i])
            emits: Sequence[Emit]
            if has_output and self._chunks is not None:
                await self._chunks.fail(error)
                terminal = failed(
                    member.request, error, now_ms=now_ms, journey=journey, outcome=outcome
                )
                emits = [terminal_emit(member.request, terminal)]
            else:
                emits = emits_for_failure(
                    member.request, error, now_ms=now_ms, journey=journey, outcome=outcome
                )
            for emit in emits:
                await self._work.emit(emit)


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
