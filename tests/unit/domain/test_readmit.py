"""From admitted bodies to records, by HTTP and from Kafka producers who are not believed."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.domain.admission.accept import (
    Acceptance,
    Caller,
    label_error,
    requested_from,
)
from services.shared.domain.admission.admit import Admitted, admit
from services.shared.domain.admission.limits import MAX_RECORD_AGE_MS, Limits
from services.shared.domain.admission.readmit import Arrival, readmit
from services.shared.domain.errors import ERRORS, PublicError
from services.shared.domain.events import CachePolicy, InferenceRequested, Operation
from services.shared.domain.fingerprint import fingerprint
from services.shared.domain.ids import NO_REPLY, RANDOM_BYTES, new_request_id

NOW_MS = 1_800_000_000_000
LIMITS = Limits()
CALLER = Caller(tenant="kafka", key_id="", tier="batch")
ARRIVAL = Arrival(now_ms=NOW_MS, record_timestamp_ms=NOW_MS - 1_000, priority=2)
BODY = msgspec.json.encode(
    {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "temperature": 0.5,
        "max_tokens": 9,
        "n": 2,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
)
RECORD = InferenceRequested(request_id="order-00000001", operation="chat", body=BODY)
TRACE = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"


def with_user(user: str) -> bytes:
    """The body, with an end user."""
    return msgspec.json.encode({**msgspec.json.decode(BODY), "user": user})


def read(
    record: InferenceRequested, arrival: Arrival = ARRIVAL
) -> InferenceRequested | PublicError:
    """Readmit a record."""
    return readmit(record, caller=CALLER, arrival=arrival, limits=LIMITS)


def accepted(record: InferenceRequested, arrival: Arrival = ARRIVAL) -> InferenceRequested:
    """Readmit a record that must be accepted."""
    result = read(record, arrival)
    assert isinstance(result, InferenceRequested), result
    return result


def changed(**fields: object) -> InferenceRequested:
    """The good record with some fields changed."""
    return msgspec.structs.replace(RECORD, **fields)


def test_a_minimal_record_is_extracted_anew() -> None:
    """Id, operation and body are enough; all else follows as it would for HTTP."""
    admitted = admit(Operation.CHAT, BODY, limits=LIMITS)
    assert isinstance(admitted, Admitted)
    expected = requested_from(
        admitted,
        caller=CALLER,
        acceptance=Acceptance(
            request_id=RECORD.request_id,
            accepted_at=NOW_MS - 1_000,
            deadline_at=NOW_MS - 1_000 + LIMITS.request_timeout_ms,
            priority=2,
        ),
        cache_policy=CachePolicy(),
    )
    result = accepted(RECORD)
    assert result == expected
    assert (result.tenant, result.tier, result.priority) == ("kafka", "batch", 2)
    assert (result.model, result.max_output_tokens, result.choice_count) == ("m", 9, 2)
    assert (result.stream, result.include_usage, result.temperature) == (True, True, 0.5)
    assert result.body == BODY
    assert result.reply_partition == NO_REPLY
    assert result.fingerprint == fingerprint(
        tenant="kafka",
        namespace="",
        operation=Operation.CHAT,
        model="m",
        canonical=admitted.canonical,
    )


def test_what_a_record_says_of_itself_is_not_believed() -> None:
    """Declared extracts, estimates, priority, key and reply partition change nothing."""
    lies = changed(
        key_id="k",
        tier="gold",
        stream=False,
        include_usage=False,
        estimated_input_tokens=1,
        max_output_tokens=1,
        temperature=2.0,
        choice_count=1,
        has_tools=True,
        has_images=True,
        has_response_format=True,
        priority=0,
        accepted_at=1,
        reply_partition=3,
        fingerprint="f" * 64,
    )
    assert accepted(lies) == accepted(RECORD)


def test_what_a_record_repeats_truly_is_accepted() -> None:
    """A producer may say what holds anyway: a readmitted record is readmitted unchanged."""
    once = accepted(changed(body=with_user("u"), cache_policy=CachePolicy(namespace="n")))
    assert (once.user, once.cache_policy.namespace) == ("u", "n")
    assert accepted(once) == once


@pytest.mark.parametrize("reply_partition", [NO_REPLY, 3])
def test_an_id_of_our_own_form_addresses_no_gateway(reply_partition: int) -> None:
    """Whatever partition the id carries, no chunk goes to a gateway's clients."""
    own = new_request_id(now_ms=NOW_MS, random=bytes(RANDOM_BYTES), reply_partition=reply_partition)
    result = accepted(changed(request_id=own, reply_partition=reply_partition))
    assert (result.request_id, result.reply_partition) == (own, NO_REPLY)


def test_wishes_that_are_in_bounds_are_kept() -> None:
    """Labels, user, deadline, cache controls and trace context are the producer's to say."""
    result = accepted(
        changed(
            feature="search.v2",
            conversation_id="c-1",
            user="ann@example.com",
            deadline_at=NOW_MS + 5,
            cache_policy=CachePolicy(no_store=True, max_age_s=60, namespace="blue"),
            traceparent=TRACE,
            tracestate="vendor=1",
        )
    )
    assert (result.feature, result.conversation_id) == ("search.v2", "c-1")
    assert result.user == "ann@example.com"
    assert result.deadline_at == NOW_MS + 5
    assert result.cache_policy == CachePolicy(no_store=True, max_age_s=60, namespace="blue")
    assert (result.traceparent, result.tracestate) == (TRACE, "vendor=1")
    assert result.fingerprint != accepted(RECORD).fingerprint


def test_the_controls_of_body_and_record_are_joined() -> None:
    """The stricter of the two wins."""
    document = {**msgspec.json.decode(BODY), "cache": {"no-store": True, "namespace": "blue"}}
    body = msgspec.json.encode(document)
    result = accepted(changed(body=body, cache_policy=CachePolicy(max_age_s=9)))
    assert result.cache_policy == CachePolicy(no_store=True, max_age_s=9, namespace="blue")
    error = read(changed(body=body, cache_policy=CachePolicy(namespace="red")))
    assert isinstance(error, PublicError)
    assert error.param == "cache.namespace"


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        pytest.param({"request_id": ""}, "invalid_value", "request_id", id="no-id"),
        pytest.param({"request_id": "short"}, "invalid_value", "request_id", id="short-id"),
        pytest.param({"request_id": "a" * 65}, "invalid_value", "request_id", id="long-id"),
        pytest.param({"request_id": "a:b*{c}\n"}, "invalid_value", "request_id", id="id-injection"),
        pytest.param({"operation": "Chat"}, "invalid_value", "operation", id="operation"),
        pytest.param({"tenant": "other"}, "contradictory_record", "tenant", id="tenant"),
        pytest.param({"model": "dearer"}, "contradictory_record", "model", id="model"),
        pytest.param(
            {"user": "b", "body": with_user("a")}, "contradictory_record", "user", id="user"
        ),
        pytest.param({"user": "u\r\n"}, "invalid_value", "user", id="user-line-end"),
        pytest.param({"user": "u" * 513}, "invalid_value", "user", id="long-user"),
        pytest.param({"feature": "a b"}, "invalid_value", "feature", id="feature"),
        pytest.param({"conversation_id": "c" * 129}, "invalid_value", "conversation_id", id="long"),
        pytest.param({"deadline_at": -1}, "out_of_range", "deadline_at", id="negative-deadline"),
        pytest.param(
            {"deadline_at": NOW_MS - 1_000 + LIMITS.max_deadline_ms + 1},
            "out_of_range",
            "deadline_at",
            id="deadline-beyond-a-day",
        ),
        pytest.param(
            {"cache_policy": CachePolicy(max_age_s=-5)},
            "out_of_range",
            "cache_policy.max_age_s",
            id="cache-age",
        ),
        pytest.param({"body": b"{"}, "json_invalid", "", id="body"),
        pytest.param(
            {"operation": "embeddings"}, "missing_required_parameter", "input", id="mixed"
        ),
    ],
)
def test_a_bad_record_gets_the_error_that_http_would_get(
    fields: dict[str, object], code: str, param: str
) -> None:
    """A refusal is a value of the 400 class that names the field."""
    error = read(changed(**fields))
    assert isinstance(error, PublicError)
    assert (error.code, error.param, error.meaning.status) == (code, param, 400)


def test_a_passed_deadline_is_no_error() -> None:
    """Whoever meets the record next ends it as expired."""
    assert accepted(changed(deadline_at=1)).deadline_at == 1


@pytest.mark.parametrize(
    ("timestamp_ms", "accepted_at"),
    [
        pytest.param(NOW_MS, NOW_MS, id="now"),
        pytest.param(NOW_MS - MAX_RECORD_AGE_MS, NOW_MS - MAX_RECORD_AGE_MS, id="oldest-kept"),
        pytest.param(NOW_MS - MAX_RECORD_AGE_MS - 1, NOW_MS, id="older-than-the-topic-keeps"),
        pytest.param(NOW_MS + 1, NOW_MS, id="future"),
        pytest.param(-1, NOW_MS, id="none"),
        pytest.param(0, NOW_MS, id="1970"),
    ],
)
def test_acceptance_is_the_records_time_where_that_can_be_true(
    timestamp_ms: int, accepted_at: int
) -> None:
    """A record that waited in an outage has used up its time; a wrong clock costs nothing."""
    arrival = Arrival(now_ms=NOW_MS, record_timestamp_ms=timestamp_ms, priority=0)
    result = accepted(RECORD, arrival)
    assert result.accepted_at == accepted_at
    assert result.deadline_at == accepted_at + LIMITS.request_timeout_ms


@pytest.mark.parametrize(
    ("traceparent", "tracestate", "expected"),
    [
        ("garbage", "vendor=1", ("", "")),
        ("", "vendor=1", ("", "")),
        (TRACE, "x" * 513, (TRACE, "")),
        (TRACE, "a=1\r\n", (TRACE, "")),
        (TRACE, "a=é", (TRACE, "")),
    ],
)
def test_a_bad_trace_context_is_dropped_not_refused(
    traceparent: str, tracestate: str, expected: tuple[str, str]
) -> None:
    """A trace is a courtesy: a malformed one starts anew."""
    result = accepted(changed(traceparent=traceparent, tracestate=tracestate))
    assert (result.traceparent, result.tracestate) == expected


@given(
    st.builds(
        InferenceRequested,
        request_id=st.just("order-00000001") | st.text(),
        operation=st.just("chat") | st.text() | st.sampled_from(Operation),
        body=st.just(BODY) | st.binary(),
        tenant=st.sampled_from(["", CALLER.tenant]) | st.text(),
        user=st.just("") | st.text(),
        model=st.sampled_from(["", "m"]) | st.text(),
        feature=st.just("") | st.text(),
        deadline_at=st.integers(0, NOW_MS) | st.integers(-(2**63), 2**63 - 1),
        reply_partition=st.integers(-(2**31), 2**31 - 1),
        traceparent=st.just(TRACE) | st.text(),
    )
)
def test_readmission_never_raises_and_never_trusts(record: InferenceRequested) -> None:
    """Whatever a producer writes: a record of the caller's own tenant for nobody, or an error."""
    result = read(record)
    if isinstance(result, PublicError):
        assert result.code in ERRORS
    else:
        assert (result.tenant, result.reply_partition) == (CALLER.tenant, NO_REPLY)
        assert result.deadline_at <= result.accepted_at + LIMITS.max_deadline_ms


def test_labels_are_checked_for_both_ways_in() -> None:
    """An empty label is none; a label may stand in a header, a log and a metric."""
    assert label_error("feature", "") is None
    assert label_error("feature", "team:search.v2_x-1") is None
    error = label_error("feature", "a\nb")
    assert error is not None
    assert (error.code, error.param) == ("invalid_value", "feature")


def test_the_tenant_follows_from_the_key_whatever_the_body_says() -> None:
    """H28: a tenant named in metadata is text like any other."""
    body = {**msgspec.json.decode(BODY), "metadata": {"tenant": "other"}, "tenant": "other"}
    admitted = admit(Operation.CHAT, msgspec.json.encode(body), limits=LIMITS)
    assert isinstance(admitted, Admitted)
    requested = requested_from(
        admitted,
        caller=Caller(tenant="own", key_id="k1", tier="gold"),
        acceptance=Acceptance(
            request_id="order-00000001", accepted_at=5, deadline_at=9, reply_partition=3
        ),
        cache_policy=CachePolicy(),
    )
    assert (requested.tenant, requested.key_id, requested.tier) == ("own", "k1", "gold")
    assert (requested.accepted_at, requested.deadline_at, requested.reply_partition) == (5, 9, 3)
