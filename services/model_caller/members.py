"""The requests that share the calls of one serving: what was called for them, and how they end."""

import asyncio
from collections.abc import Sequence

from services.model_caller.call_record import CallTimes, call_record
from services.model_caller.calls import Reply
from services.model_caller.chunks import ChunkStream
from services.model_caller.embedded_inputs import KnownInputs
from services.model_caller.ending import (
    Ending,
    close_call,
    end_requests,
    end_uncalled,
    journey_of_member,
    outcome_of,
)
from services.model_caller.held import Held
from services.model_caller.leaving import Leaving
from services.model_caller.put_off import next_turn
from services.model_caller.review import Review, not_stored
from services.model_caller.together import acknowledged
from services.model_caller.tools import Tools
from services.shared.domain.cancellations import CANCELLED
from services.shared.domain.emit import Emit
from services.shared.domain.errors import PublicError
from services.shared.domain.events import (
    AttemptOutcome,
    InferenceFinished,
    ModelCall,
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

_GATHER_S = (0.025, 0.05)
_MANY_CALLS = 64

Stream = ChunkStream | Held
"""What a client gets, at once or when it is let go."""


class Members:
    """One request, or several that share a merged call.

    Attributes:
        routed: The requests with their routes.
        requests: The requests.
        calls: Calls made for each of them, as far as they are known.
        attempts: Number of calls made for each of them.
        cancelled: Positions of those that are given up, by callers and by all who joined them.
        leaving: Those that only their callers have given up.
        stream: What the client of a streamed request gets of the present attempt; None = nothing
            yet.
    """

    def __init__(  # noqa: PLR0913  # named, and all of one serving
        self,
        tools: Tools,
        work: OpenRecord[RequestBatch],
        routed: Sequence[RequestRouted],
        *,
        history: Sequence[Sequence[ModelCall]],
        attempts: Sequence[int],
        known: KnownInputs,
        review: Review | None,
    ) -> None:
        """Prepare; see ``Serving``."""
        self.routed = routed
        self.requests = [member.request for member in routed]
        self.calls = [list(calls) for calls in history] or [[] for _ in routed]
        self.attempts = list(attempts) or [0] * len(routed)
        self.cancelled: set[int] = set()
        self.leaving = Leaving(self._tell_left)
        self.stream: Stream | None = None
        self._tools = tools
        self._work = work
        self._known = known
        self._review = review

    def __len__(self) -> int:
        """How many they are."""
        return len(self.routed)

    # -- what clients get ------------------------------------------------------------------------

    def open_stream(self, i: int, target: Target) -> ChunkStream:
        """The stream to the client of a member, of its present attempt."""
        member, attempt = self.routed[i], self.attempts[i]
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

    async def _tell_left(self, i: int) -> bool:
        """A member is over for its caller; its call goes on for those that joined it."""
        member = self.routed[i]
        if member.request.reply_partition == NO_REPLY:
            return True
        chunk = leaving_chunk(
            member.request,
            headers={**cache_headers(member.cache), **route_headers(member.route)},
            attempt=self.attempts[i],
        )
        leaving = chunk_emit(member.request, chunk)
        stream = self.stream.stream if isinstance(self.stream, Held) else self.stream
        if stream is not None:
            return await stream.leave(leaving)
        await acknowledged(await self._work.emit(leaving))
        return True

    async def _over(self) -> frozenset[int]:
        """Positions of those that are cancelled for their callers, whatever becomes of their call.

        To be asked before any end is written; nobody leaves after that.
        """
        return (await self.leaving.settled()) | self.cancelled

    # -- calls -----------------------------------------------------------------------------------

    def note(self, target: Target, reply: Reply, started_ms: float) -> None:
        """A call is over: it is part of their history."""
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
        for i, request in enumerate(self.requests):
            call = call_record(request, target, reply, i, times=times, attempt=self.attempts[i])
            self.calls[i].append(call)
            self._tools.metrics.saved(target, call.saved_nanousd)

    async def close_calls(
        self, target: Target, *, outcome: AttemptOutcome = AttemptOutcome.FAILED
    ) -> None:
        """Write that the calls are over; what becomes of the requests is still open."""
        for ending in self._endings(target, outcome):
            await close_call(self._tools, self._work, ending)

    def _endings(self, target: Target, outcome: AttemptOutcome) -> list[Ending]:
        return [
            Ending(
                member=member,
                call=calls[-1],
                outcome=outcome,
                price_version=target.price.version,
            )
            for member, calls in zip(self.routed, self.calls, strict=True)
        ]

    # -- no further call -------------------------------------------------------------------------

    def turns(self, *, pause_ms: int = 0) -> list[Emit | None]:
        """The records by which they come again; None for who has no time to wait."""
        now_ms = self._tools.clock.now_ms()
        return [
            next_turn(
                member,
                headers=self._work.headers,
                now_ms=now_ms,
                attempts=attempts,
                pause_ms=pause_ms,
            )
            for member, attempts in zip(self.routed, self.attempts, strict=True)
        ]

    async def put_off(self, turns: Sequence[Emit | None], error: PublicError) -> None:
        """Let those come again that have a turn; end the others."""
        over = await self._over()
        for i, request in enumerate(self.requests):
            emit = turns[i] if turns else None
            if emit is None or i in over:
                await self._end_uncalled(i, CANCELLED if i in over else error)
            else:
                await acknowledged(await self._work.emit(emit))
                self._tools.journal.put_off(request, attempts=self.attempts[i])

    async def end_uncalled(self, error: PublicError) -> None:
        """End them without another call."""
        over = await self._over()
        for i in range(len(self)):
            await self._end_uncalled(i, CANCELLED if i in over else error)

    async def _end_uncalled(self, i: int, error: PublicError) -> None:
        await end_uncalled(
            self._tools,
            self._work,
            self.routed[i],
            error,
            attempts=self.attempts[i],
            calls=self.calls[i],
        )

    # -- ends ------------------------------------------------------------------------------------

    async def complete(
        self,
        target: Target,
        answers: Sequence[Answer],
        *,
        outcome: AttemptOutcome,
        is_doubtful: bool,
    ) -> None:
        """Answer them; what was streamed is closed already.

        Args:
            target: Who was called last.
            answers: One for each.
            outcome: How the last calls ended.
            is_doubtful: The answers must not be kept.
        """
        left = await self.leaving.settled()
        gone = self.cancelled if len(self) > 1 else set()
        streams: list[Stream] = []
        for i, answer in enumerate(answers):
            own = self.stream
            if own is None:
                own = self.open_stream(i, target)
                if i not in left:  # who has left was told so
                    await (own.fail(CANCELLED) if i in gone else own.end(answer.response))
            streams.append(own)
        terminals = [
            self._failed(i, CANCELLED)
            if i in gone
            else self._completed(i, answer, is_left=i in left, is_doubtful=is_doubtful)
            for i, answer in enumerate(answers)
        ]
        await self._end(target, streams, terminals, outcome=outcome)

    async def fail(self, target: Target, error: PublicError, *, has_output: bool) -> None:
        """End them with an error.

        Args:
            target: Who was called last.
            error: The error.
            has_output: Whether the client has got some of an answer.
        """
        left = await self.leaving.settled()
        stream = self.stream if has_output else None
        streams: list[Stream] = []
        terminals = []
        for i in range(len(self)):
            own = CANCELLED if i in left or i in self.cancelled else error
            to_client = self.open_stream(i, target) if stream is None else stream
            await to_client.fail(error if i in left else own)  # who follows it still reads
            streams.append(to_client)
            terminals.append(self._failed(i, own))
        await self._end(target, streams, terminals, outcome=AttemptOutcome.FAILED)

    async def _end(
        self,
        target: Target,
        streams: Sequence[Stream],
        terminals: Sequence[InferenceFinished],
        *,
        outcome: AttemptOutcome,
    ) -> None:
        """Write the ends once the clients have what is theirs; return when they are durable."""
        for stream in streams:
            await stream.acknowledged()
        self._tools.pass_by("before_terminal")
        await end_requests(self._tools, self._work, self._endings(target, outcome), terminals)

    def _completed(
        self, i: int, answer: Answer, *, is_left: bool, is_doubtful: bool
    ) -> InferenceFinished:
        now_ms = self._tools.clock.now_ms()
        terminal = completed(self.requests[i], answer, now_ms=now_ms, journey=self._journey(i))
        if is_left:
            terminal = left_to_others(terminal)
        return not_stored(terminal) if is_doubtful else terminal

    def _failed(self, i: int, error: PublicError) -> InferenceFinished:
        return failed(
            self.requests[i],
            error,
            now_ms=self._tools.clock.now_ms(),
            journey=self._journey(i),
            outcome=outcome_of(error),
        )

    def _journey(self, i: int) -> Journey:
        return journey_of_member(self._work.event, self.routed[i], self.calls[i])
