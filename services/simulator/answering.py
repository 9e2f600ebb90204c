"""From a request's bytes to a reply: the decisions in their order."""

import re
from email.utils import formatdate
from math import ceil

import msgspec

from services.simulator.asking import Asked, asked_from_request
from services.simulator.behaviour import (
    Behaviour,
    FaultKind,
    Operation,
    RetryAfter,
    UnknownModel,
)
from services.simulator.calls import Call
from services.simulator.decide import (
    Faults,
    Plan,
    behaviour_from_model,
    hangs_before_headers,
    plan_answer,
    refusal_of,
    struck_faults,
)
from services.simulator.embedding_wire import embedding_body
from services.simulator.limits import Limits, ModelLimits, start_of
from services.simulator.refusals import Refusal, invalid, unknown_model
from services.simulator.replies import Headers, Reply
from services.simulator.requests import model_from_body, request_from_body
from services.simulator.streaming import streamed_reply
from services.simulator.whole import bombed, json_reply, whole_reply
from services.simulator.wire import Identity, whole_body

REDIRECTED_PATH = "/v1/simulator/redirected"

_AT_FIELD = re.compile(r" - at `\$\.?(.*)`$")
_MISSING = re.compile(r"missing required field `(\w+)`")


def header(headers: Headers, wanted: bytes) -> bytes:
    """The first header of a (lower-case) name; b"" = none."""
    return next((value for name, value in headers if name == wanted), b"")


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a call gets.

    Attributes:
        reply: The bytes.
        start_ms: When the reply's time begins, on the ticker's clock.
        headers: More headers.
    """

    reply: Reply
    start_ms: float
    headers: Headers = msgspec.field(default_factory=list)


class Silence(msgspec.Struct, frozen=True):
    """A call that hangs before its status line."""


def _retry_headers(retry_after: RetryAfter | None, *, unix_ms: float) -> Headers:
    if retry_after is None:
        return []
    delay_ms = retry_after.delay_ms
    seconds = (b"retry-after", b"%d" % ceil(delay_ms / 1_000))
    milliseconds = (b"retry-after-ms", b"%d" % ceil(delay_ms))
    match retry_after.form:
        case "ms":
            return [milliseconds]
        case "date":
            date = formatdate(ceil((unix_ms + delay_ms) / 1_000), usegmt=True)
            return [(b"retry-after", date.encode())]
        case "both":
            return [seconds, milliseconds]
        case _:
            return [seconds]


def refused(refusal: Refusal, *, start_ms: float, unix_ms: float, due_ms: float = 0) -> Answer:
    """The answer that a refusal is."""
    headers = _retry_headers(refusal.retry_after, unix_ms=unix_ms)
    if refusal.should_retry is not None:
        headers.append((b"x-should-retry", b"true" if refusal.should_retry else b"false"))
    reply = json_reply(refusal.body(), due_ms=due_ms, status=refusal.status)
    return Answer(reply=reply, start_ms=start_ms, headers=headers)


def _malformed(error: msgspec.DecodeError) -> Refusal:
    """A request that does not decode, and where."""
    text = str(error)
    place = _AT_FIELD.search(text)
    missing = _MISSING.search(text)
    path = [place[1]] if place else []
    if missing:
        return invalid(
            f"Missing required parameter: '{'.'.join([*path, missing[1]])}'.",
            param=".".join([*path, missing[1]]),
            code="missing_required_parameter",
        )
    if not isinstance(error, msgspec.ValidationError):
        return invalid("We could not parse the JSON body of your request.")
    return invalid(text, param=".".join(path), code="invalid_value")


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """A call as it arrives.

    Attributes:
        call: Its entry in the log; what it asks for is noted there.
        body: The request.
        headers: Of the request.
        now_ms: The ticker's clock.
        unix_ms: Wall clock.
    """

    call: Call
    body: bytes
    headers: Headers
    now_ms: float
    unix_ms: float


def answer(arrival: Arrival, limits: Limits) -> Answer | Silence:
    """Decide what a call gets, and take it from the limits of its model."""
    decided = _understood(arrival, limits)
    if isinstance(decided, Refusal):
        return refused(decided, start_ms=arrival.now_ms, unix_ms=arrival.unix_ms)
    return decided


def _understood(arrival: Arrival, limits: Limits) -> Answer | Silence | Refusal:
    """Read the request and its model's name."""
    call = arrival.call
    try:
        request = request_from_body(call.operation, arrival.body)
        call.model = request.model
        behaviour = behaviour_from_model(request.model)
        if isinstance(behaviour, UnknownModel):
            return unknown_model(behaviour)
        asked = asked_from_request(request, behaviour)
    except msgspec.DecodeError as error:
        call.model = model_from_body(arrival.body)
        return _malformed(error)
    if isinstance(asked, Refusal):
        return asked
    call.inputs = len(asked.inputs)
    call.input_tokens = asked.input_tokens
    call.stream = asked.stream
    return _admitted(arrival, asked, behaviour, limits)


def _admitted(
    arrival: Arrival, asked: Asked, behaviour: Behaviour, limits: Limits
) -> Answer | Silence | Refusal:
    """Choose the call's faults, and ask its model's limits."""
    now_ms = arrival.now_ms
    earlier = limits.count_call(behaviour, asked.seed)
    faults = struck_faults(behaviour, asked.seed, earlier_calls=earlier)
    refusal = refusal_of(arrival.call.operation, asked, behaviour, faults)
    if refusal is not None:
        due_ms = behaviour.delay_ms if FaultKind.FAIL in faults else 0.0
        return refused(refusal, start_ms=now_ms, unix_ms=arrival.unix_ms, due_ms=due_ms)
    if FaultKind.REDIRECT in faults:
        return _redirect(arrival)
    own = limits.of(behaviour, now_ms=now_ms)
    if own is not None:
        tokens = asked.input_tokens + (asked.max_output_tokens or behaviour.median_tokens)
        refusal = own.admit(tokens, now_ms=now_ms)
        if refusal is not None:
            denied = refused(refusal, start_ms=now_ms, unix_ms=arrival.unix_ms)
            return msgspec.structs.replace(
                denied, headers=[*denied.headers, *own.headers(now_ms=now_ms)]
            )
    return _planned(arrival, asked, behaviour, faults, own)


def _redirect(arrival: Arrival) -> Answer:
    host = header(arrival.headers, b"host")
    location = b"http://" + host + REDIRECTED_PATH.encode()
    reply = json_reply(b"{}", status=307)
    return Answer(reply=reply, start_ms=arrival.now_ms, headers=[(b"location", location)])


def _planned(
    arrival: Arrival,
    asked: Asked,
    behaviour: Behaviour,
    faults: Faults,
    own: ModelLimits | None,
) -> Answer | Silence | Refusal:
    """Plan the answer, and reserve a server where the model has only so many."""
    plan = plan_answer(asked, behaviour, faults)
    arrival.call.output_tokens = plan.output_tokens
    start_ms = start_of(own, now_ms=arrival.now_ms, service_ms=plan.service_ms)
    if isinstance(start_ms, Refusal):
        return start_ms
    headers = [] if own is None else own.headers(now_ms=arrival.now_ms)
    if hangs_before_headers(faults):
        return Silence()
    reply = _reply(arrival, asked, plan, behaviour)
    if FaultKind.GZIP_BOMB in faults:
        reply = bombed(reply, int(faults[FaultKind.GZIP_BOMB].argument))
    return Answer(reply=reply, start_ms=start_ms, headers=headers)


def _reply(arrival: Arrival, asked: Asked, plan: Plan, behaviour: Behaviour) -> Reply:
    call = arrival.call
    identity = Identity(
        number=call.request_id.removeprefix("req_"),
        created_s=int(arrival.unix_ms) // 1_000,
        operation=call.operation,
        behaviour=behaviour,
        is_wrong_model=FaultKind.WRONG_MODEL in plan.faults,
    )
    if call.operation is Operation.EMBEDDING:
        return whole_reply(plan, embedding_body(asked, plan, identity))
    if asked.stream:
        return streamed_reply(plan, identity, include_usage=asked.include_usage)
    return whole_reply(plan, whole_body(plan, identity))
