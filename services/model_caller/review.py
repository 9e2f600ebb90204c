"""What is done to one request on its way to a target, and what becomes of the answer.

A review shapes the body (caps, compaction), holds streams back where the answer has to be seen
first, and decides by pure rules whether an answer is handed on, mended, asked for again, or left
for the next target. Requests of which nothing of it is wanted have no review.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import msgspec

from services.model_caller.cascade.decide import NOT_JUDGED, Policy, Verdict, judge, judge_prefix
from services.model_caller.chunks import ChunkStream
from services.model_caller.held import Beginning, Held, fragments_of
from services.model_caller.levers.caps import Cap
from services.model_caller.levers.effort import Effort, TooMuch, allowing
from services.model_caller.levers.shaping import asking_again, capped, compacted
from services.model_caller.levers.structure import fault_of_answer, mended
from services.model_caller.review_metrics import ReviewMetrics
from services.shared.domain.cascade.asked import Asked, asked_of
from services.shared.domain.cascade.signals import Given
from services.shared.domain.configuration_output import WhenInvalid
from services.shared.domain.configuration_routing import CascadeStream
from services.shared.domain.errors import PublicError
from services.shared.domain.events import (
    InferenceFinished,
    InferenceRequested,
    ModelCall,
    Target,
)
from services.shared.domain.terminal import Answer

MAX_BYTES_AT_ONCE = 64 * 1024
MAX_STEPS_AT_ONCE = 400
"""About 2 ms. What is larger or takes more steps is checked in a thread beside the event loop."""

_CHARS_PER_TOKEN = 4
_WITHDRAWN = "The model's answer is not the JSON that was asked for: {fault}."


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is done to a request and its answers.

    Attributes:
        cap: A cap that the caller did not ask for; None = none.
        compacts: Whether its prompt is compacted.
        when_invalid: What becomes of answers that are not the demanded JSON.
        policy: How answers are judged; None = they are not.
        stream: What becomes of a streamed answer that is to be judged.
        prefix_tokens: Tokens that are judged under ``prefix``.
    """

    cap: Cap | None = None
    compacts: bool = False
    when_invalid: WhenInvalid = WhenInvalid.PASS
    policy: Policy | None = None
    stream: CascadeStream = CascadeStream.BUFFER
    prefix_tokens: int = 0

    @property
    def does_something(self) -> bool:
        """Whether it differs from letting everything pass."""
        return (
            self.cap is not None
            or self.compacts
            or self.policy is not None
            or self.when_invalid is not WhenInvalid.PASS
        )


class HandOn(msgspec.Struct, frozen=True, kw_only=True):
    """An answer for the caller.

    Attributes:
        answer: The answer.
        target: Who gave it.
        fragments: What of it a stream has still to be given.
        is_doubtful: Whether it is handed on only as nothing better was to be had.
    """

    answer: Answer
    target: Target
    fragments: tuple[bytes, ...] = ()
    is_doubtful: bool = False


class AskNext(msgspec.Struct, frozen=True):
    """The next target is asked.

    Attributes:
        score: What the answer is worth, 0..1.
    """

    score: float


class AskAgain(msgspec.Struct, frozen=True):
    """The same target is asked again, with another body."""


class Refuse(msgspec.Struct, frozen=True):
    """The request ends with an error."""

    error: PublicError


Step = HandOn | AskNext | AskAgain | Refuse


class Review:
    """The review of one request.

    Attributes:
        body: What goes upstream; empty = what the caller wrote.
        headers: Response headers, as far as they are known.
        kept: The best answer that was not good enough; None = none is worth anything.
    """

    def __init__(self, request: InferenceRequested, plan: Plan, metrics: ReviewMetrics) -> None:
        """Shape the request."""
        self._request = request
        self._plan = plan
        self._metrics = metrics
        self._asked: Asked | None = None
        self._held: Held | None = None
        self._verdict: Verdict | None = None
        self._best = NOT_JUDGED
        self._has_asked_again = False
        self._checks = plan.when_invalid is not WhenInvalid.PASS and request.has_response_format
        self.body = b""
        self.headers: dict[str, str] = {}
        self.kept: HandOn | None = None
        self._shape()

    def _shape(self) -> None:
        request, plan = self._request, self._plan
        if plan.cap is not None:
            self.body = capped(request.body, request.operation, plan.cap)
            self.headers["x-millrace-max-tokens"] = f"{plan.cap.max_tokens}; by={plan.cap.by}"
            self._metrics.capped(plan.cap.by)
        if plan.compacts:
            self.body, saved = compacted(self.body or request.body)
            tokens = (saved.blanks + saved.repeats) // _CHARS_PER_TOKEN
            if tokens:
                self.headers["x-millrace-tokens-saved"] = str(tokens)
                self._metrics.saved("blanks", saved.blanks // _CHARS_PER_TOKEN)
                self._metrics.saved("repeats", saved.repeats // _CHARS_PER_TOKEN)

    def resumed(self) -> None:
        """A predecessor has judged an answer before, and found it not good enough."""
        self.headers["x-millrace-cascade"] = "escalated"

    # -- before a call ---------------------------------------------------------------------------

    def hold(
        self, target: Target, *, targets_left: int, open_stream: Callable[[], ChunkStream]
    ) -> Held | None:
        """What takes a streamed answer in the client's place; None = the client sees it at once.

        Args:
            target: Who is called.
            targets_left: Targets after this one.
            open_stream: Makes the client's stream.
        """
        self._held, self._verdict = None, None
        is_judged = self._is_judged(targets_left)
        if self._checks or (is_judged and self._plan.stream is CascadeStream.BUFFER):
            self._held = Held()
        elif is_judged:
            self._held = Held(
                prefix_tokens=self._plan.prefix_tokens,
                lets_through=lambda beginning: self._lets_through(beginning, target),
                open_stream=open_stream,
            )
        else:
            self._skip()
        return self._held

    def _is_judged(self, targets_left: int) -> bool:
        is_skipped = self._request.stream and self._plan.stream is CascadeStream.SKIP
        return self._plan.policy is not None and targets_left > 0 and not is_skipped

    def _skip(self) -> None:
        if self._plan.policy is not None:
            self.headers.setdefault("x-millrace-cascade", "skipped")

    def _lets_through(self, beginning: Beginning, target: Target) -> bool:
        assert self._plan.policy is not None  # noqa: S101  # else nothing is held for it
        given = Given(
            text=beginning.text,
            refusal=beginning.refusal,
            calls=(("", ""),) if beginning.has_calls else (),
            logprobs=tuple(beginning.logprobs),
        )
        model = f"{target.provider}/{target.model}"
        verdict = judge_prefix(given, self._what(), self._plan.policy, model=model)
        self._decided(verdict, target)
        return verdict.is_accepted

    # -- after a call ----------------------------------------------------------------------------

    async def settle(self, answer: Answer, target: Target, *, targets_left: int) -> Step:
        """What becomes of an answer.

        Args:
            answer: The answer; of a withdrawn one its usage alone counts.
            target: Who gave it.
            targets_left: Targets after this one.
        """
        held, self._held = self._held, None
        fragments = tuple(held.fragments) if held is not None and not held.is_shown else ()
        if held is not None and held.is_shown:
            return HandOn(answer=answer, target=target)
        if held is not None and self._verdict is not None and not self._verdict.is_accepted:
            return AskNext(self._verdict.confidence)
        self._verdict = None
        if not self._checks and not self._is_judged(targets_left):
            self._skip()
            return HandOn(answer=answer, target=target, fragments=fragments)
        given = HandOn(answer=answer, target=target, fragments=fragments)
        weigh = partial(self._weigh, given, targets_left=targets_left)
        if len(answer.response) <= MAX_BYTES_AT_ONCE:
            with suppress(TooMuch), allowing(Effort(MAX_STEPS_AT_ONCE, gives_up=False)):
                return weigh()
        with allowing(Effort()):
            return await asyncio.to_thread(weigh)

    def noted(self, call: ModelCall) -> ModelCall:
        """A call with the verdict on its answer."""
        verdict = self._verdict
        if verdict is None:
            return call
        return msgspec.structs.replace(call, confidence=verdict.confidence, verdict=verdict.reason)

    def keep(self) -> HandOn | None:
        """The best doubtful answer, now that nothing better is to be had; None = there is none."""
        if self.kept is not None:
            self.headers["x-millrace-cascade"] = f"kept; confidence={self._best:.2f}"
            self._metrics.judged(self.kept.target, "kept")
        return self.kept

    def _weigh(self, given: HandOn, *, targets_left: int) -> Step:
        """Check and judge an answer; nothing has changed when checks take too much.

        Raises:
            TooMuch: See ``levers.effort``.
        """
        document = msgspec.json.decode(given.answer.response)
        fault = fault_of_answer(document, self._what()) if self._checks else None
        repairs, is_mended = self._plan.when_invalid is WhenInvalid.REPAIR, False
        if fault is not None and repairs and mended(document, self._what()):
            given, fault = self._with_document(given, document), None
            is_mended = True
        verdict = self._judged(document, given) if self._is_judged(targets_left) else None
        if is_mended:
            self._metrics.checked("mended")
        if verdict is not None:
            self._decided(verdict, given.target)
            if not verdict.is_accepted:
                self._keep(given, verdict, fault)
                return AskNext(verdict.confidence)
        if fault is None:
            return given
        return self._after_fault(document, given, fault, targets_left=targets_left)

    def _judged(self, document: dict[str, object], given: HandOn) -> Verdict:
        assert self._plan.policy is not None  # noqa: S101  # it is judged
        target = given.target
        return judge(
            document,
            self._what(),
            self._plan.policy,
            model=f"{target.provider}/{target.model}",
            output_tokens=given.answer.usage.output_tokens,
        )

    def _after_fault(
        self, document: dict[str, object], given: HandOn, fault: str, *, targets_left: int
    ) -> Step:
        when = self._plan.when_invalid
        if self._verdict is None:
            self._verdict = Verdict(
                confidence=NOT_JUDGED, is_accepted=False, reason="not the demanded JSON"
            )
        if when is WhenInvalid.ESCALATE and targets_left:
            self._metrics.checked("escalated")
            return AskNext(0.0)
        is_cut = given.answer.finish_reason == "length"  # so would be the next one
        if when is WhenInvalid.REPAIR and not self._has_asked_again and not is_cut:
            self._has_asked_again = True
            self.body = asking_again(self.body or self._request.body, document, fault)
            self._metrics.checked("asked_again")
            return AskAgain()
        self._metrics.checked("refused")
        return Refuse(PublicError(code="answer_invalid", message=_WITHDRAWN.format(fault=fault)))

    def _keep(self, given: HandOn, verdict: Verdict, fault: str | None) -> None:
        if fault is None and verdict.confidence > self._best:
            self.kept = msgspec.structs.replace(given, is_doubtful=True)
            self._best = verdict.confidence

    def _decided(self, verdict: Verdict, target: Target) -> None:
        self._verdict = verdict
        word = "accepted" if verdict.is_accepted else "escalated"
        said = f"; confidence={verdict.confidence:.2f}" if verdict.confidence >= 0 else ""
        self.headers["x-millrace-cascade"] = word + said
        self._metrics.judged(target, word)

    def _with_document(self, given: HandOn, document: dict[str, object]) -> HandOn:
        response = msgspec.json.encode(document)
        fragments = given.fragments and tuple(
            fragments_of(response, include_usage=self._request.include_usage)
        )
        answer = msgspec.structs.replace(given.answer, response=response)
        return msgspec.structs.replace(given, answer=answer, fragments=fragments)

    def _what(self) -> Asked:
        if self._asked is None:
            self._asked = asked_of(self._request)
        return self._asked


def not_stored(terminal: InferenceFinished) -> InferenceFinished:
    """A terminal record whose answer is not kept in the cache: a better one may be had later."""
    policy = msgspec.structs.replace(terminal.cache_policy, no_store=True)
    return msgspec.structs.replace(terminal, cache_policy=policy)
