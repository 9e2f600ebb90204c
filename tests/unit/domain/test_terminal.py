"""How requests end: terminal records and error chunks."""

import msgspec
import pytest

from services.shared.domain.cancellations import CANCELLED
from services.shared.domain.errors import ERRORS, PublicError
from services.shared.domain.events import (
    CacheEvidence,
    CacheMissed,
    CacheOutcome,
    Event,
    Hop,
    InferenceFinished,
    InferenceRequested,
    ModelCall,
    Outcome,
    RequestRouted,
    ResultChunk,
    Route,
    Target,
)
from services.shared.domain.evidence import (
    MAX_HEADER_CHARACTERS,
    cache_headers,
    header_text,
    route_headers,
)
from services.shared.domain.money import Usage
from services.shared.domain.terminal import (
    Answer,
    Journey,
    chunk_emit,
    completed,
    emits_for_expiry,
    emits_for_failure,
    error_chunk,
    failed,
    has_answer,
    is_leaving,
    journey_of,
    leaving_chunk,
    left_to_others,
    retry_headers,
)
from services.shared.domain.topics import Topic

REQUEST = InferenceRequested(
    request_id="req_0123456789",
    operation="chat",
    body=b"{}",
    tenant="t",
    key_id="k",
    tier="gold",
    feature="f",
    user="u",
    model="m",
    stream=True,
    priority=1,
    accepted_at=1_000,
    reply_partition=3,
    fingerprint="ab",
)
ROUTE = Route(
    alias="m",
    strategy="fixed",
    reason="first",
    config_version="v1",
    targets=(Target(provider="p", model="a"), Target(provider="p", model="b")),
)
HOPS = (Hop(service="gateway"),)
JOURNEY = Journey(
    hops=HOPS,
    cache=CacheEvidence(outcome=CacheOutcome.BYPASS.value),
    route=ROUTE,
    calls=(
        ModelCall(attempt=1, provider="p", model="a", started_ms=1, cost_nanousd=5),
        ModelCall(attempt=2, provider="p", model="b", started_ms=2, cost_nanousd=7),
    ),
    batch_id="batch",
    batch_size=2,
)
ERROR = PublicError(code="provider_error", message="It broke.", param="model")


def test_a_terminal_carries_request_and_journey() -> None:
    """Every field that request, journey and answer know is in the record; costs are summed."""
    answer = Answer(
        response=b"{}", usage=Usage(input_tokens=3), finish_reason="stop", response_model="a-1"
    )
    finished = completed(REQUEST, answer, now_ms=2_000.9, journey=JOURNEY)
    assert finished == InferenceFinished(
        request_id="req_0123456789",
        outcome="completed",
        tenant="t",
        key_id="k",
        tier="gold",
        feature="f",
        user="u",
        operation="chat",
        model="m",
        stream=True,
        priority=1,
        accepted_at=1_000,
        finished_at=2_000,
        fingerprint="ab",
        cache=JOURNEY.cache,
        route=ROUTE,
        calls=JOURNEY.calls,
        batch_id="batch",
        batch_size=2,
        usage=answer.usage,
        cost_nanousd=12,
        finish_reason="stop",
        response_model="a-1",
        response=b"{}",
        hops=HOPS,
    )


def test_every_common_field_of_request_and_terminal_is_carried_over() -> None:
    """A field that both records have never gets lost, also one that is added later."""
    finished = failed(REQUEST, ERROR, now_ms=1)
    common = set(REQUEST.__struct_fields__) & set(finished.__struct_fields__)
    assert len(common) > 10
    for field in common:
        assert getattr(finished, field) == getattr(REQUEST, field), field


def test_a_failure_says_why_and_whose_fault() -> None:
    """The public error, its status and its fault domain stand in the record."""
    finished = failed(REQUEST, ERROR, now_ms=1, journey=JOURNEY, outcome=Outcome.CANCELLED)
    assert finished.outcome == "cancelled"
    assert finished.error is not None
    assert msgspec.structs.asdict(finished.error) == {
        "code": "provider_error",
        "message": "It broke.",
        "param": "model",
        "status": 502,
        "fault": "provider",
    }
    assert finished.response == b""


def test_an_answer_that_its_caller_gave_up_is_there_for_others() -> None:
    """The record is cancelled and has the answer, its usage and its cost."""
    answered = completed(REQUEST, Answer(response=b"{}"), now_ms=1, journey=JOURNEY)
    left = left_to_others(answered)
    assert (left.outcome, left.response, left.cost_nanousd) == ("cancelled", b"{}", 12)
    assert left.error is not None
    assert (left.error.code, left.error.status) == ("request_cancelled", 499)
    given_up = failed(REQUEST, CANCELLED, now_ms=1, outcome=Outcome.CANCELLED)
    assert [has_answer(it) for it in (answered, left, given_up)] == [True, True, False]
    assert not has_answer(failed(REQUEST, ERROR, now_ms=1))


def test_a_caller_who_gave_up_learns_that_the_call_goes_on() -> None:
    """By a header of the error, which marks it for those who read on; no other error has it."""
    chunk = leaving_chunk(REQUEST, headers={"x-cache": "miss"}, attempt=2)
    assert (chunk.kind, chunk.status, chunk.attempt) == ("error", 499, 2)
    assert chunk.headers["x-millrace-call"] == "goes-on"
    assert is_leaving(chunk)
    assert not is_leaving(error_chunk(REQUEST, CANCELLED))
    assert not is_leaving(msgspec.structs.replace(chunk, kind="delta"))


def test_a_waiting_client_gets_the_error_before_the_terminal_is_written() -> None:
    """The chunk goes to the reply partition, explained; the terminal goes by the request id."""
    chunk, ending = emits_for_failure(REQUEST, ERROR, now_ms=1, journey=JOURNEY)
    assert (chunk.topic, chunk.partition, chunk.key) == (
        Topic.RESULT_CHUNKS,
        3,
        REQUEST.request_id,
    )
    assert (ending.topic, ending.partition, ending.key) == (
        Topic.INFERENCE_RESULTS,
        None,
        REQUEST.request_id,
    )
    assert chunk.request == ending.request == REQUEST
    assert isinstance(chunk.event, ResultChunk)
    assert (chunk.event.kind, chunk.event.attempt, chunk.event.seq) == ("error", 2, 0)
    assert chunk.event.headers == {
        "x-cache": "bypass",
        "x-millrace-route-strategy": "fixed",
        "x-millrace-route-reason": "first",
        "x-millrace-route-target": "p/a",
        "x-millrace-route-fallbacks": "p/b",
        "x-millrace-route-config-version": "v1",
        "x-should-retry": "true",
    }


def test_without_a_waiting_client_there_is_no_chunk() -> None:
    """A request of a Kafka producer ends with its terminal record alone."""
    request = msgspec.structs.replace(REQUEST, reply_partition=-1)
    (ending,) = emits_for_failure(request, ERROR, now_ms=1)
    assert ending.topic == Topic.INFERENCE_RESULTS


def test_a_late_request_expires() -> None:
    """Its terminal says so, and the client is told that trying again will not help by itself."""
    chunk, ending = emits_for_expiry(REQUEST, now_ms=9)
    assert isinstance(ending.event, InferenceFinished)
    assert ending.event.outcome == "expired"
    assert isinstance(chunk.event, ResultChunk)
    assert chunk.event.status == 504
    assert chunk.event.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("code", sorted(ERRORS))
def test_an_error_chunk_is_openais_error_object(code: str) -> None:
    """For every code: status, type and the four members that clients read."""
    chunk = error_chunk(
        REQUEST,
        PublicError(code=code, message="x"),
        headers={"a": "b"},
        run="r",
        attempt=1,
        seq=4,
    )
    error = msgspec.json.decode(chunk.payload)["error"]
    assert error == {"message": "x", "type": ERRORS[code].type, "param": None, "code": code}
    assert (chunk.status, chunk.run, chunk.attempt, chunk.seq) == (ERRORS[code].status, "r", 1, 4)
    assert chunk.headers["a"] == "b"


@pytest.mark.parametrize(
    ("retry_after_ms", "headers"),
    [
        (0, {"x-should-retry": "true"}),
        (1, {"x-should-retry": "true", "retry-after-ms": "1", "retry-after": "1"}),
        (1_001, {"x-should-retry": "true", "retry-after-ms": "1001", "retry-after": "2"}),
    ],
)
def test_retry_headers_never_ask_too_early(retry_after_ms: int, headers: dict[str, str]) -> None:
    """Whole seconds are rounded up; without a known time there is none."""
    error = PublicError(code="rate_limit_exceeded", message="", retry_after_ms=retry_after_ms)
    assert retry_headers(error) == headers


@pytest.mark.parametrize(
    ("event", "journey"),
    [
        (
            CacheMissed(request=REQUEST, cache=JOURNEY.cache, hops=HOPS),
            Journey(cache=JOURNEY.cache, hops=HOPS),
        ),
        (
            RequestRouted(request=REQUEST, cache=JOURNEY.cache, route=ROUTE, lane="l", hops=HOPS),
            Journey(cache=JOURNEY.cache, hops=HOPS, route=ROUTE),
        ),
        (REQUEST, Journey()),
    ],
)
def test_a_record_knows_the_journey_so_far(event: Event, journey: Journey) -> None:
    """Each record in the middle of the pipeline gives what it carries."""
    assert journey_of(event) == journey


def test_a_chunk_goes_to_the_partition_of_the_waiting_gateway() -> None:
    """The partition is explicit, never derived from the key."""
    chunk = ResultChunk(request_id="r", attempt=1, seq=0, kind="delta", payload=b"")
    assert chunk_emit(REQUEST, chunk).partition == 3


def test_route_headers_name_who_answered() -> None:
    """After a fallback, the target is the one that answered and the others are fallbacks."""
    headers = route_headers(ROUTE, ROUTE.targets[1])
    assert headers["x-millrace-route-target"] == "p/b"
    assert headers["x-millrace-route-fallbacks"] == "p/a"


def test_what_is_not_known_gets_no_header() -> None:
    """No route, no targets: no empty headers."""
    assert route_headers(None) == {}
    empty = Route(alias="m", strategy="fixed", reason="", config_version="v")
    assert route_headers(empty) == {
        "x-millrace-route-strategy": "fixed",
        "x-millrace-route-config-version": "v",
    }


@pytest.mark.parametrize(
    ("cache", "headers"),
    [
        (CacheEvidence(outcome="miss"), {"x-cache": "miss"}),
        (
            CacheEvidence(outcome="exact_hit", age_s=7, source_request_id="req_1"),
            {"x-cache": "exact_hit", "age": "7", "x-millrace-cache-source": "req_1"},
        ),
        (
            CacheEvidence(
                outcome="semantic_hit", age_s=7, source_request_id="req_1", similarity=0.97654
            ),
            {
                "x-cache": "semantic_hit",
                "age": "7",
                "x-millrace-cache-source": "req_1",
                "x-millrace-cache-similarity": "0.9765",
            },
        ),
        (CacheEvidence(outcome="miss", similarity=0.9), {"x-cache": "miss"}),
    ],
)
def test_a_hit_says_how_old_it_is_and_whose(cache: CacheEvidence, headers: dict[str, str]) -> None:
    """Age and source stand beside ``x-cache`` on hits alone."""
    assert cache_headers(cache) == headers


def test_header_texts_are_visible_ascii_and_bounded() -> None:
    """Line ends and other letters cannot break a header; long texts end in dots."""
    assert header_text("a\r\nb: é") == "a??b: ?"
    assert header_text("x" * MAX_HEADER_CHARACTERS) == "x" * MAX_HEADER_CHARACTERS
    cut = header_text("x" * 10_000)
    assert len(cut) == MAX_HEADER_CHARACTERS
    assert cut.endswith("...")
