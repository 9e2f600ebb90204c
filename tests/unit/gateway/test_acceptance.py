"""From an HTTP request to the record that enters the pipeline."""

from typing import Any

import msgspec
import pytest

from services.gateway.acceptance import CLIENT_MARGIN_MS, accepted
from services.shared.domain.errors import PublicError
from services.shared.domain.events import CachePolicy, InferenceRequested, Operation
from tests.support.fake_clock import START_MS, FakeClock
from tests.support.gateway_desk import (
    CHAT,
    KEY,
    NARROW_KEY,
    OTHER_KEY,
    REPLY_PARTITION,
    REQUEST_ID,
    FakePublisher,
    chat_request,
    desk_of,
    http_request,
)

NOW_MS = int(START_MS)
TIMEOUT_MS = 600_000
DAY_MS = 86_400_000
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def outcome(
    headers: dict[str, str] | None = None,
    *,
    operation: Operation = Operation.CHAT,
    key: str = KEY,
    **fields: Any,
) -> InferenceRequested | PublicError:
    """What becomes of a chat request with changes."""
    desk = desk_of(FakeClock(), FakePublisher())
    return await accepted(operation, chat_request(headers, key=key, **fields), desk, START_MS)


async def record(headers: dict[str, str] | None = None, **changes: Any) -> InferenceRequested:
    """The record of a request that is good."""
    result = await outcome(headers, **changes)
    assert isinstance(result, InferenceRequested), result
    return result


async def code(headers: dict[str, str] | None = None, **changes: Any) -> str:
    """Why a request is refused."""
    result = await outcome(headers, **changes)
    assert isinstance(result, PublicError), result
    return result.code


async def test_a_record_holds_body_and_account_of_its_request() -> None:
    """The body is kept verbatim; tenant, key and tier are the key's; the reply comes to us."""
    asked = await record(temperature=0.5, max_completion_tokens=7)
    assert asked.body == msgspec.json.encode(
        CHAT | {"temperature": 0.5, "max_completion_tokens": 7}
    )
    assert (asked.tenant, asked.key_id, asked.tier) == ("acme", "acme-1", "gold")
    assert (asked.request_id, asked.reply_partition) == (REQUEST_ID, REPLY_PARTITION)
    assert (asked.operation, asked.model, asked.stream) == ("chat", "small", False)
    assert (asked.temperature, asked.max_output_tokens) == (0.5, 7)
    assert (asked.accepted_at, asked.deadline_at) == (NOW_MS, NOW_MS + TIMEOUT_MS)
    assert len(asked.fingerprint) == 64


async def test_nobody_chooses_his_tenant() -> None:
    """Headers and fields that name another tenant change nothing but the cache key's input."""
    asked = await record(
        {"x-tenant-id": "other", "millrace-tenant": "other"}, metadata={"tenant": "other"}
    )
    assert asked.tenant == "acme"
    theirs = await record(key=OTHER_KEY)
    assert theirs.fingerprint != (await record()).fingerprint


@pytest.mark.parametrize(
    ("headers", "stream", "allowed_ms"),
    [
        ({}, False, TIMEOUT_MS),
        ({"x-millrace-deadline-ms": "1"}, False, 1),
        ({"x-millrace-deadline-ms": str(DAY_MS)}, False, DAY_MS),
        ({"x-stainless-read-timeout": "30"}, False, 30_000 + CLIENT_MARGIN_MS),
        ({"x-stainless-read-timeout": "0.25"}, False, 250 + CLIENT_MARGIN_MS),
        ({"x-stainless-read-timeout": "600.0"}, False, TIMEOUT_MS),
        ({"x-stainless-read-timeout": "86400"}, False, TIMEOUT_MS),
        ({"x-stainless-read-timeout": "30"}, True, TIMEOUT_MS),
        ({"x-stainless-read-timeout": "None"}, False, TIMEOUT_MS),
        ({"x-stainless-read-timeout": "nan"}, False, TIMEOUT_MS),
        ({"x-stainless-read-timeout": "1e999"}, False, TIMEOUT_MS),
        ({"x-stainless-read-timeout": "-5"}, False, TIMEOUT_MS),
        ({"x-stainless-read-timeout": "0"}, False, TIMEOUT_MS),
        ({"x-stainless-read-timeout": "5", "x-millrace-deadline-ms": "900000"}, False, 900_000),
    ],
)
async def test_a_request_has_as_long_as_somebody_waits_for_it(
    *, headers: dict[str, str], stream: bool, allowed_ms: int
) -> None:
    """Its own wish counts, else a little more than the client's timeout, else the usual time.

    In a stream the client's timeout is on silence, so it says nothing of the whole.
    """
    assert (await record(headers, stream=stream)).deadline_at == NOW_MS + allowed_ms


@pytest.mark.parametrize("text", ["0", "-1", "86400001", "1.5", "1e3", "soon", "9" * 40, "\u00b2"])
async def test_an_impossible_deadline_is_refused(text: str) -> None:
    """Outside 1 ms to a day, or no number, is the caller's mistake."""
    assert await code({"x-millrace-deadline-ms": text}) == "invalid_header"


@pytest.mark.parametrize(
    ("key", "wanted", "priority"),
    [
        (KEY, "", 0),
        (KEY, "0", 0),
        (KEY, "2", 2),
        (NARROW_KEY, "", 1),
        (NARROW_KEY, "0", 1),
        (NARROW_KEY, "2", 2),
    ],
)
async def test_a_request_may_be_less_urgent_than_its_key_never_more(
    key: str, wanted: str, priority: int
) -> None:
    """The key's priority is a bound."""
    headers = {"x-millrace-priority": wanted} if wanted else {}
    assert (await record(headers, key=key)).priority == priority


@pytest.mark.parametrize("text", ["3", "-1", "high", "00", "1 "])
async def test_an_unknown_priority_is_refused(text: str) -> None:
    """There are three."""
    assert await code({"x-millrace-priority": text}) == "invalid_header"


@pytest.mark.parametrize(
    ("headers", "field", "policy"),
    [
        ({}, None, CachePolicy()),
        ({"cache-control": "no-cache"}, None, CachePolicy(no_cache=True)),
        ({"cache-control": "no-store, max-age=60"}, None, CachePolicy(no_store=True, max_age_s=60)),
        ({}, {"no-store": True}, CachePolicy(no_store=True)),
        ({"cache-control": "max-age=60"}, {"ttl": 30}, CachePolicy(max_age_s=30)),
        ({"x-millrace-cache-namespace": "lab"}, None, CachePolicy(namespace="lab")),
    ],
)
async def test_headers_and_body_say_what_the_cache_may_do(
    headers: dict[str, str], field: dict[str, object] | None, policy: CachePolicy
) -> None:
    """The stricter of the two holds."""
    fields = {} if field is None else {"cache": field}
    assert (await record(headers, **fields)).cache_policy == policy


async def test_a_cache_header_that_comes_twice_counts_twice() -> None:
    """Two lines are one list, as HTTP has it: neither wish is lost."""
    base = chat_request()
    base.scope["headers"] += [(b"cache-control", b"no-cache"), (b"cache-control", b"no-store")]
    desk = desk_of(FakeClock(), FakePublisher())
    asked = await accepted(Operation.CHAT, base, desk, START_MS)
    assert isinstance(asked, InferenceRequested)
    assert asked.cache_policy == CachePolicy(no_cache=True, no_store=True)


@pytest.mark.parametrize(
    "headers",
    [
        {"cache-control": "max-age=soon"},
        {"cache-control": "max-age=1000000000000"},
        {"x-millrace-cache-namespace": "../other"},
        {"x-millrace-cache-namespace": "a b"},
    ],
)
async def test_an_impossible_wish_about_the_cache_is_refused(headers: dict[str, str]) -> None:
    """It is not quietly taken for another one."""
    assert await code(headers) == "invalid_header"


async def test_labels_are_kept_or_refused() -> None:
    """Feature and conversation id are short words without control characters."""
    labels = {"x-millrace-feature": "search", "x-millrace-conversation-id": "c:1.2_3-4"}
    asked = await record(labels)
    assert (asked.feature, asked.conversation_id) == ("search", "c:1.2_3-4")
    for name in labels:
        result = await outcome({name: "two words"})
        assert isinstance(result, PublicError)
        assert result.param == name


async def test_a_callers_trace_goes_on() -> None:
    """Its trace id and vendor state travel with the request."""
    asked = await record({"traceparent": TRACEPARENT, "tracestate": "vendor=1"})
    assert (asked.traceparent, asked.tracestate) == (TRACEPARENT, "vendor=1")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        TRACEPARENT.upper(),
        TRACEPARENT.replace("00-", "ff-", 1),
        "00-" + "0" * 32 + "-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-" + "0" * 16 + "-01",
        TRACEPARENT + "-more",
        "ä" * 55,
    ],
)
async def test_a_malformed_trace_is_replaced_without_an_error(text: str) -> None:
    """The request gets a trace of its own; state without a trace is dropped."""
    asked = await record({"traceparent": text, "tracestate": "vendor=1"})
    assert asked.traceparent.startswith("00-")
    assert "0af7651916cd43dd8448eb211c80319c" not in asked.traceparent
    assert asked.tracestate == ""


@pytest.mark.parametrize("state", ["x" * 513, "vendor=ä"])
async def test_an_endless_or_foreign_vendor_state_is_dropped(state: str) -> None:
    """The trace goes on without it."""
    asked = await record({"traceparent": TRACEPARENT, "tracestate": state})
    assert (asked.traceparent, asked.tracestate) == (TRACEPARENT, "")


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": ""},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/jsonp"},
        {"content-type": "application/json; charset=latin1"},
        {"content-type": "application/json; charset=utf-16"},
        {"content-encoding": "gzip"},
        {"content-encoding": "identity, gzip"},
    ],
)
async def test_only_plain_json_in_utf8_is_read(headers: dict[str, str]) -> None:
    """Other media types, character sets and encodings are refused before the body is read."""
    assert await code(headers) == "unsupported_media_type"


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "application/json; charset=utf-8"},
        {"content-type": 'APPLICATION/JSON;charset="UTF-8"'},
        {"content-encoding": "identity"},
    ],
)
async def test_json_may_say_what_it_is_in_several_ways(headers: dict[str, str]) -> None:
    """Case, quotes and the encoding that is none."""
    await record(headers)


async def test_a_head_that_is_refused_is_refused_before_the_body() -> None:
    """Nobody who is not known makes us read four megabytes."""

    async def receive() -> dict[str, Any]:
        raise AssertionError("the body was read")

    desk = desk_of(FakeClock(), FakePublisher())
    for headers in ({}, {"authorization": f"Bearer {KEY}", "content-type": "text/plain"}):
        request = http_request(headers=headers)
        request.receive = receive
        result = await accepted(Operation.CHAT, request, desk, START_MS)
        assert isinstance(result, PublicError)


@pytest.mark.parametrize(
    ("key", "model", "operation", "is_served"),
    [
        (KEY, "small", Operation.CHAT, True),
        (KEY, "openai/gpt-9", Operation.CHAT, True),
        (KEY, "nothing", Operation.CHAT, False),
        (KEY, "Small", Operation.CHAT, False),
        (KEY, "large", Operation.CHAT, True),
        (KEY, "large", Operation.TEXT_COMPLETION, False),
        (NARROW_KEY, "small", Operation.CHAT, True),
        (NARROW_KEY, "lab-7", Operation.CHAT, True),
        (NARROW_KEY, "large", Operation.CHAT, False),
        (NARROW_KEY, "openai/gpt-9", Operation.CHAT, False),
    ],
)
async def test_a_key_sees_only_its_models(
    *, key: str, model: str, operation: Operation, is_served: bool
) -> None:
    """A model that does not exist and one that the key may not use are told apart by nothing."""
    fields: dict[str, Any] = {"model": model}
    if operation is Operation.TEXT_COMPLETION:
        fields["prompt"] = "x"
    result = await outcome(operation=operation, key=key, **fields)
    if is_served:
        assert isinstance(result, InferenceRequested)
        return
    assert isinstance(result, PublicError)
    assert (result.code, result.param) == ("model_not_found", "model")
    assert result.message.replace(model, "x") == (
        "The model 'x' does not exist or you do not have access to it. GET /v1/models lists those "
        "that you may use."
    )


async def test_an_error_echoes_little_of_what_was_sent() -> None:
    """A long model name is cut to 64 characters."""
    result = await outcome(model="m" * 200)
    assert isinstance(result, PublicError)
    assert "m" * 64 in result.message
    assert "m" * 65 not in result.message


async def test_a_body_that_admission_refuses_is_refused() -> None:
    """The reason is admission's own."""
    assert await code(temperature=9) == "out_of_range"
    assert await code(api_base="http://elsewhere") == "unknown_parameter"
