"""One call to a provider: send, read, bound by time, tell what came of it."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Protocol

import msgspec

from services.model_caller import decide
from services.model_caller.answers import (
    MAX_ANSWER_BYTES,
    Malformed,
    ProviderError,
    StreamedAnswer,
    error_of,
    whole_answer,
)
from services.model_caller.completions import MergedPrompts, merged_prompts, split_choices
from services.model_caller.decide import CallFailed, failure, failure_from_status
from services.model_caller.embeddings import Known, Merged, Sent, merged_call, split_answer
from services.model_caller.held import Withdrawn
from services.model_caller.packing import CallLimits
from services.model_caller.rate_headers import asked_pause_ms
from services.model_caller.shared_inputs import Company
from services.model_caller.sse import EventTooLarge, SseDecoder
from services.model_caller.stopping import Stop, Stopped
from services.model_caller.turns import Turn
from services.model_caller.usage import tokens_of
from services.model_caller.wire import PATHS, upstream_body
from services.shared.domain.cancellations import CANCELLED
from services.shared.domain.configuration import Timeouts
from services.shared.domain.events import InferenceRequested, Operation
from services.shared.domain.money import Usage
from services.shared.domain.terminal import Answer
from services.shared.ports.model_provider import ModelProvider, UpstreamAnswer, UpstreamFailed

OUR_OWN_ENDS = frozenset({"deadline_exceeded", CANCELLED.code})
"""Codes of ends that are not the provider's doing."""

_MAX_MERGED_BYTES = 64 * 1024 * 1024
_MAX_ERROR_BYTES = 64 * 1024
_ERROR_FOR_AN_ANSWER = "The provider reported an error instead of an answer."


class Service(msgspec.Struct, frozen=True):
    """A provider that is connected.

    Attributes:
        provider: How to reach it.
        timeouts: How long it may take.
        max_in_flight: Calls at once.
        others: How to reach its other endpoints.
        requests_per_minute: Calls a minute; 0 = no limit.
        tokens_per_minute: Tokens a minute, input and output; 0 = no limit.
        isolates_inputs: Whether inputs of different tenants may share a call.
        call_limits: What it takes in one call.
        takes_cache_control: Whether it knows ``cache_control`` in prompts.
    """

    provider: ModelProvider
    timeouts: Timeouts
    max_in_flight: int = 512
    others: tuple[ModelProvider, ...] = ()
    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    isolates_inputs: bool = False
    call_limits: CallLimits = CallLimits()
    takes_cache_control: bool = False

    def at(self, endpoint: int) -> "Service":
        """The provider by one of its endpoints; 0 is the first."""
        if not endpoint:
            return self
        return msgspec.structs.replace(self, provider=self.others[endpoint - 1])


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked.

    Attributes:
        requests: One request, or several that share a merged call.
        model: The provider's name of the model.
        headers: Headers beside those that the provider adds.
        deadline_s: When it must have ended, on the event loop's clock.
        stop: Stops it from outside.
        body: The body in place of the caller's; empty = the caller's. Not for merged calls.
        known: For each request, vectors that need not be asked for; empty = none.
        company: With whom it may be made together; None = it is made by itself.
        turn: Its place in the provider's rate, where it may be made together.
        marks_prompt: Whether what is worth it is marked for the provider's prompt cache.
    """

    requests: Sequence[InferenceRequested]
    model: str
    headers: Mapping[str, str]
    deadline_s: float
    stop: Stop
    body: bytes = b""
    known: Sequence[Known] = ()
    company: Company | None = None
    turn: Turn | None = None
    marks_prompt: bool = False


class Sink(Protocol):
    """Where a streamed answer goes as it comes.

    Attributes:
        is_shown: Whether the client sees what comes, so that nothing of it can be taken back.
    """

    @property
    def is_shown(self) -> bool:
        """See above."""

    async def delta(self, fragment: bytes) -> None:
        """Take a piece of output."""

    async def end(self, *fragments: bytes) -> None:
        """Take the last pieces."""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a call.

    Attributes:
        result: An answer for each request, or why there is none.
        billed: Tokens of a call that failed after output, as far as they are known.
        first_output_s: When output first arrived, on the event loop's clock; None = never.
        status: The provider's HTTP status; 0 = none.
        upstream_request_id: The provider's own id of the call.
        pause_ms: How long it asks for no further call, ms; 0 = not at all.
        sent: For each request, the embeddings that came for its inputs; empty = none did.
        is_shared: Whether others shared the call.
        is_copy: Whether one of them has told already how it went.
    """

    result: Sequence[Answer] | CallFailed
    billed: Usage = Usage()
    first_output_s: float | None = None
    status: int = 0
    upstream_request_id: str = ""
    pause_ms: int = 0
    sent: Sequence[Mapping[bytes, Sent]] = ()
    is_shared: bool = False
    is_copy: bool = False


async def ask(service: Service, call: Call, chunks: Sink | None, *, now_ms: float) -> Reply:
    """Make a call.

    Args:
        service: The provider.
        call: What is asked.
        chunks: Where a streamed answer goes as it comes; None = it is wanted in one piece.
        now_ms: Unix ms, to read dates in Retry-After.
    """
    exchange = _Exchange(service, call, chunks, now_ms)
    deadline = asyncio.timeout_at(call.deadline_s)
    try:
        async with deadline:
            result = await exchange.run()
    except TimeoutError:
        result = exchange.timed_out(at_deadline=deadline.expired())
    except UpstreamFailed as error:
        result = failure(error.code, f"The provider broke off ({error}).")
        if error.code == "provider_malformed":  # too large or compressed: so it will be again
            result = msgspec.structs.replace(result, is_retriable=False)
    except EventTooLarge:
        result = failure("provider_malformed", "The provider sent an event that does not end.")
    except Malformed as error:
        result = failure("provider_malformed", f"The provider's answer is malformed: {error}.")
    except ProviderError as error:
        result = exchange.broken_off(error)
    billed = Usage()
    if isinstance(result, CallFailed):
        billed = exchange.billed(is_stopped=result.error is CANCELLED)
        result = exchange.marked(result)
    return Reply(
        result=result,
        billed=billed,
        first_output_s=exchange.first_output_s,
        status=exchange.status,
        upstream_request_id=exchange.upstream_request_id,
        pause_ms=exchange.pause_ms,
        sent=exchange.sent,
    )


class _Exchange:
    """The state of a call while it runs."""

    def __init__(self, service: Service, call: Call, chunks: Sink | None, now_ms: float) -> None:
        self._service = service
        self._call = call
        self._chunks = chunks
        self._now_ms = now_ms
        self._clock = asyncio.get_running_loop().time
        self._answer: StreamedAnswer | None = None
        self._is_sent = False
        self._has_output = False
        self._total_by_s = math.inf
        self.first_output_s: float | None = None
        self.status = 0
        self.upstream_request_id = ""
        self.pause_ms = 0
        self.sent: Sequence[Mapping[bytes, Sent]] = ()

    async def run(self) -> Sequence[Answer] | CallFailed:
        try:
            return await self._call.stop.or_stop(self._run)
        except Stopped:
            return CallFailed(error=CANCELLED, is_retriable=False, is_this_target_only=False)
        except Withdrawn:
            return self._withdrawn()

    async def _run(self) -> Sequence[Answer] | CallFailed:
        requests = self._call.requests
        operation = Operation(requests[0].operation)
        merged = _merged(self._call, operation)
        body = upstream_body(
            merged.body if merged else self._call.body or requests[0].body,
            model=self._call.model,
            stream=self._chunks is not None,
            marks_prompt=self._call.marks_prompt and self._service.takes_cache_control,
        )
        self._is_sent = True
        timeouts, now_s = self._service.timeouts, self._clock()
        self._total_by_s = first_by_s = now_s + timeouts.total_s
        if self._chunks is not None:
            first_by_s = min(first_by_s, now_s + timeouts.first_token_s)
        async with asyncio.timeout_at(first_by_s) as timer:
            async with self._service.provider.call(
                PATHS[operation], body=body, headers=self._call.headers
            ) as upstream:
                self.status = upstream.status
                self.upstream_request_id = upstream.headers.get("x-request-id", "")[:128]
                self.pause_ms = asked_pause_ms(
                    upstream.headers, tokens=tokens_of(requests), now_ms=self._now_ms
                )
                if upstream.status != 200:
                    return await self._refused(upstream)
                if self._chunks is not None:
                    return await self._streamed(upstream, timer, self._chunks)
                most = min(_MAX_MERGED_BYTES, MAX_ANSWER_BYTES * len(requests))
                received = await upstream.read(max_bytes=most)
        self.first_output_s = self._clock()
        match merged:
            case Merged():
                split = split_answer(merged, requests, received)
                self.sent = split.sent
                return split.answers
            case MergedPrompts():
                return split_choices(merged, requests, received)
            case None:
                return [whole_answer(requests[0], received)]

    async def _streamed(
        self, upstream: UpstreamAnswer, timer: asyncio.Timeout, chunks: Sink
    ) -> Sequence[Answer]:
        if not upstream.headers.get("content-type", "").startswith("text/event-stream"):
            raise Malformed("a stream was asked for, something else came")
        answer = self._answer = StreamedAnswer(self._call.requests[0])
        decoder = SseDecoder()
        held: list[bytes] = []  # a role without a word is no output yet: it can still be repeated
        async for piece in upstream.pieces():
            for data in decoder.feed(piece):
                await self._hand_on(answer, data, held, chunks)
            if answer.is_done:
                break
            if self._has_output:
                pause_s = self._service.timeouts.inter_token_s
                timer.reschedule(min(self._total_by_s, self._clock() + pause_s))
        else:
            for data in decoder.close():
                await self._hand_on(answer, data, held, chunks)
        whole = answer.answer()
        usage = answer.usage_fragment()
        await chunks.end(*held, *((usage,) if usage is not None else ()))
        return [whole]

    async def _hand_on(
        self, answer: StreamedAnswer, data: bytes, held: list[bytes], chunks: Sink
    ) -> None:
        fragment = answer.take(data)
        if fragment is None:
            return
        held.append(fragment)
        if answer.has_output:
            if not self._has_output:
                self._has_output = True
                self.first_output_s = self._clock()
            for ready in held:
                await chunks.delta(ready)
            held.clear()

    async def _refused(self, upstream: UpstreamAnswer) -> CallFailed:
        pause_ms = decide.retry_after_ms(upstream.headers, now_ms=self._now_ms)
        body = b""
        with suppress(UpstreamFailed):  # the status alone decides then
            body = await upstream.read(max_bytes=_MAX_ERROR_BYTES)
        error = error_of(body)
        return failure_from_status(
            upstream.status,
            message=error.message,
            code=error.code,
            param=error.param,
            pause_ms=pause_ms,
        )

    def timed_out(self, *, at_deadline: bool) -> CallFailed:
        if at_deadline:
            error = failure("deadline_exceeded", "The request's deadline passed during the call.")
            return msgspec.structs.replace(error, is_retriable=False, is_this_target_only=False)
        if self._clock() >= self._total_by_s:
            total_s = self._service.timeouts.total_s
            return failure("provider_timeout", f"The provider took longer than {total_s:g} s.")
        if self._has_output:
            pause_s = self._service.timeouts.inter_token_s
            return failure("provider_timeout", f"The provider fell silent for {pause_s:g} s.")
        return failure("provider_timeout", "The provider did not answer in time.")

    def broken_off(self, error: ProviderError) -> CallFailed:
        """An error in the place of an answer; its status, 200, says nothing."""
        failed = failure_from_status(
            502, message=error.message, code=error.code, param=error.param, pause_ms=0
        )
        public = msgspec.structs.replace(failed.error, upstream_status=self.status)
        if public.code == "provider_error":
            public = msgspec.structs.replace(public, message=_ERROR_FOR_AN_ANSWER)
        return msgspec.structs.replace(failed, error=public)

    def _withdrawn(self) -> Sequence[Answer]:
        """What came of an answer that is not wanted any more: no words, and what they cost."""
        assert self._answer is not None  # noqa: S101  # a stream's sink withdrew it
        return [Answer(response=b"", usage=self._answer.usage())]

    def billed(self, *, is_stopped: bool) -> Usage:
        """The tokens of a stream that broke off after output, or of a call that was stopped.

        A provider bills what it has read and written before it is told to stop.
        """
        if self._answer is not None and (self._has_output or is_stopped):
            return self._answer.usage()
        if not is_stopped or not self._is_sent or len(self._call.requests) > 1:
            return Usage()
        request = self._call.requests[0]
        return Usage(input_tokens=request.estimated_input_tokens, is_estimated=True)

    def marked(self, failed: CallFailed) -> CallFailed:
        """A failure after output is an interrupted stream, and final."""
        if not self._has_output or (self._chunks is not None and not self._chunks.is_shown):
            return failed
        error = failed.error
        if error.code not in OUR_OWN_ENDS:
            error = msgspec.structs.replace(
                error, code="stream_interrupted", message=f"{error.message} The answer is cut off."
            )
        return msgspec.structs.replace(failed, error=error, has_output=True)


def _merged(call: Call, operation: Operation) -> Merged | MergedPrompts | None:
    """The call of several requests, or one that is written anew; None = one is sent as it is."""
    bodies = [request.body for request in call.requests]
    if operation is Operation.EMBEDDINGS:
        return merged_call(bodies, call.known)
    return merged_prompts(bodies) if len(bodies) > 1 else None
