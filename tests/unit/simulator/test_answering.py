"""From a request's bytes to an answer."""

import json
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.simulator.answering import Answer, Arrival, Silence, answer
from services.simulator.behaviour import Operation
from services.simulator.calls import Call
from services.simulator.limits import Limits

UNIX_MS = 1_700_000_000_000.0


def _call(operation: Operation) -> Call:
    return Call(id=1, request_id="req_01", operation=operation, started_ms=1, headers={})


def _answered(
    body: bytes, *, operation: Operation = Operation.CHAT, limits: Limits | None = None
) -> tuple[Answer | Silence, Call]:
    call = _call(operation)
    arrival = Arrival(
        call=call, body=body, headers=[(b"host", b"there:1")], now_ms=50.0, unix_ms=UNIX_MS
    )
    return answer(arrival, limits or Limits()), call


def _chat(model: str, **fields: object) -> bytes:
    messages = [{"role": "user", "content": "hello"}]
    return json.dumps({"model": model, "messages": messages} | fields).encode()


def _refusal(body: bytes, *, operation: Operation = Operation.CHAT) -> tuple[int, dict[str, str]]:
    answered, _ = _answered(body, operation=operation)
    assert isinstance(answered, Answer)
    ((_, data),) = answered.reply.frames
    return answered.reply.status, json.loads(data)["error"]


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        (b"", 400, None, None),
        (b"not json", 400, None, None),
        (b"[]", 400, "invalid_value", None),
        (b'{"model":"sim-fast"}', 400, "missing_required_parameter", "messages"),
        (_chat("sim-fast", messages=[]), 400, "invalid_value", "messages"),
        (_chat("sim-fast", messages=[{}]), 400, "missing_required_parameter", "messages[0].role"),
        (
            _chat("sim-fast", messages=[{"role": "boss"}]),
            400,
            "invalid_value",
            "messages[0].role",
        ),
        (_chat("sim-fast", max_tokens=0), 400, "invalid_value", "max_tokens"),
        (_chat("sim-fast", n=129), 400, "invalid_value", "n"),
        (_chat("sim-fast", temperature=3), 400, "invalid_value", "temperature"),
        (_chat("sim-fast", stop=["a"] * 5), 400, "invalid_value", "stop"),
        (_chat("sim-fast", tools=[{"type": "magic"}]), 400, "invalid_value", "tools[0].type"),
        (_chat("gpt-4o"), 404, "model_not_found", "model"),
        (_chat("sim-fast:nonsense"), 404, "model_not_found", "model"),
    ],
)
def test_bad_request_gets_openais_error(
    body: bytes, status: int, code: str | None, param: str | None
) -> None:
    """What is wrong with a request is said with OpenAI's status, code and field."""
    found, error = _refusal(body)
    assert (found, error["code"], error["param"]) == (status, code, param)
    assert error["type"] == "invalid_request_error"
    assert error["message"]


def test_call_that_is_wrong_elsewhere_is_logged_under_its_model() -> None:
    """The log names the model of a malformed request where it can be read."""
    assert _answered(_chat("sim-fast", n=0))[1].model == "sim-fast"
    assert _answered(b'{"model":5}')[1].model == ""


def test_call_is_noted_with_what_it_asked_for() -> None:
    """The log's entry gets model, inputs and tokens."""
    body = json.dumps({"model": "sim-fast", "prompt": ["1234", "5"], "max_tokens": 2}).encode()
    _, call = _answered(body, operation=Operation.COMPLETION)
    assert (call.model, call.inputs, call.input_tokens, call.output_tokens, call.stream) == (
        "sim-fast", 2, 2, 4, False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("option", "name", "value"),
    [
        ("retry-after=2", "retry-after", "2"),
        ("retry-after=1500ms", "retry-after-ms", "1500"),
    ],
)
def test_failure_says_when_to_come_back(option: str, name: str, value: str) -> None:
    """The hint comes in the form asked for, and in no other."""
    answered, _ = _answered(_chat(f"sim-fast:fail=429:{option}"))
    assert isinstance(answered, Answer)
    assert answered.headers == [(name.encode(), value.encode())]


def test_failure_says_when_to_come_back_as_a_date() -> None:
    """The date is the delay from now on, in HTTP's format."""
    answered, _ = _answered(_chat("sim-fast:fail=503:retry-after-date=30s"))
    assert isinstance(answered, Answer)
    ((name, value),) = answered.headers
    assert name == b"retry-after"
    assert parsedate_to_datetime(value.decode()).timestamp() == UNIX_MS / 1_000 + 30


def test_used_up_quota_says_that_no_retry_helps() -> None:
    """``fail=quota`` tells OpenAI's clients not to retry."""
    answered, _ = _answered(_chat("sim-fast:fail=quota"))
    assert isinstance(answered, Answer)
    assert answered.headers == [(b"x-should-retry", b"false")]


def test_failure_takes_the_time_of_a_call_where_asked_for() -> None:
    """With ``delay`` a failure comes late, other refusals at once."""
    slow, _ = _answered(_chat("sim-fast:fail:delay=40ms"))
    other, _ = _answered(_chat("sim-fast:reject=hello:delay=40ms"))
    assert isinstance(slow, Answer)
    assert isinstance(other, Answer)
    assert (slow.reply.starts_ms, other.reply.starts_ms) == (40, 0)


def test_limited_model_counts_calls_and_says_so_on_each_answer() -> None:
    """Answers carry ``x-ratelimit-*``; beyond the limit there is 429 with both retry hints."""
    limits = Limits()
    first, _ = _answered(_chat("sim-fast:rpm=1"), limits=limits)
    second, _ = _answered(_chat("sim-fast:rpm=1"), limits=limits)
    assert isinstance(first, Answer)
    assert isinstance(second, Answer)
    assert dict(first.headers)[b"x-ratelimit-remaining-requests"] == b"0"
    assert second.reply.status == 429
    headers = dict(second.headers)
    assert headers[b"retry-after"] == b"60"
    assert headers[b"retry-after-ms"] == b"60000"
    assert headers[b"x-ratelimit-limit-requests"] == b"1"


def test_serial_model_starts_calls_one_after_the_other() -> None:
    """The second call's time begins when the first one's service ends."""
    limits = Limits()
    body = json.dumps({"model": "sim-embed-serial", "input": ["a", "b"]}).encode()
    answers = [_answered(body, operation=Operation.EMBEDDING, limits=limits)[0] for _ in range(3)]
    starts = [answered.start_ms for answered in answers if isinstance(answered, Answer)]
    assert starts == [50, 71, 92]


def test_queue_beyond_a_minute_is_refused() -> None:
    """A call that would wait longer than a minute for its server is answered 503."""
    limits = Limits()
    body = _chat("sim-fast:parallel=1:delay=2m")
    _answered(body, limits=limits)
    refused, _ = _answered(body, limits=limits)
    assert isinstance(refused, Answer)
    assert refused.reply.status == 503


def test_redirect_leads_to_the_host_that_the_client_named() -> None:
    """``redirect`` answers 307 with a location at the simulator itself."""
    answered, _ = _answered(_chat("sim-fast:redirect"))
    assert isinstance(answered, Answer)
    assert answered.reply.status == 307
    assert answered.headers == [(b"location", b"http://there:1/v1/simulator/redirected")]


def test_hang_before_the_headers_is_silence() -> None:
    """``hang`` gets no reply at all, and is still noted as paid for."""
    answered, call = _answered(_chat("sim-fast:hang"))
    assert isinstance(answered, Silence)
    assert call.output_tokens > 0


@given(st.binary(max_size=200) | st.sampled_from([_chat("sim-fast"), b'{"model":"sim-fast"']))
def test_any_body_gets_an_answer(body: bytes) -> None:
    """Whatever the bytes, there is an answer with a status, never an exception."""
    for operation in Operation:
        answered, _ = _answered(body, operation=operation)
        assert isinstance(answered, Answer)
        assert 200 <= answered.reply.status < 500
