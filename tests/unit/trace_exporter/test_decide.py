"""The spans of a request: one tree, whatever became of it."""

from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.domain.events import (
    CacheEvidence,
    Failure,
    Hop,
    InferenceFinished,
    ModelCall,
    Route,
)
from services.shared.domain.money import Usage
from services.shared.domain.spans import Span, SpanKind
from services.shared.domain.tracing import (
    read_traceparent,
    request_context,
    span_id_for,
    trace_id_for,
    traceparent,
)
from services.trace_exporter.decide import batch_span, context_of, is_kept, spans_of
from tests.support.example_events import TRACEPARENT, finished, request_id
from tests.support.fake_clock import START_MS

STAGES = ("cache-lookup", "router", "batcher", "model-caller")
TOPICS = ("inference-requests-p0", "cache-misses", "routed-requests", "request-batches-p0")
START_NS = int(START_MS) * 1_000_000


def hop(service: str, number: int = 0, topic: str = "") -> Hop:
    """A hop of 2 ms, 5 ms after the one before."""
    at_ms = 5.0 * number
    return Hop(
        service=service,
        topic=topic,
        partition=number,
        offset=100 + number,
        received_ms=at_ms,
        finished_ms=at_ms + 2,
    )


HOPS = (
    Hop(service="gateway", finished_ms=1.0),
    *(
        hop(stage, i + 1, topic)
        for i, (stage, topic) in enumerate(zip(STAGES, TOPICS, strict=True))
    ),
)
CALL = ModelCall(
    attempt=1,
    provider="simulator",
    model="small",
    started_ms=20.0,
    first_chunk_ms=120.0,
    finished_ms=240.0,
    upstream_status=200,
    upstream_request_id="up-1",
    usage=Usage(input_tokens=9, output_tokens=12, cached_input_tokens=4),
    cost_nanousd=77,
)
FAILED_CALL = ModelCall(
    attempt=2,
    provider="simulator",
    model="small",
    started_ms=1.0,
    finished_ms=2.0,
    error_code="provider_error",
)


def ended(**changes: Any) -> InferenceFinished:
    """A request that went through all stages."""
    fields: dict[str, Any] = {
        "hops": HOPS,
        "calls": (CALL,),
        "key_id": "key-1",
        "batch_id": "batch_1",
        "batch_size": 3,
        "route": Route(alias="small", strategy="fixed", reason="", config_version="abc"),
    }
    return finished(1, **{**fields, **changes})


def spans(event: InferenceFinished, context: str = TRACEPARENT) -> list[Span]:
    """Its spans."""
    return list(spans_of(event, context_of(event, context)))


def named(found: list[Span], name: str) -> Span:
    """The only span of a name."""
    (span,) = [it for it in found if it.name == name]
    return span


def check_tree(found: list[Span], *, outer: str) -> Span:
    """All spans are of one trace and hang together under one root; returns it.

    Args:
        found: The spans.
        outer: What the root hangs under; empty = nothing.
    """
    ids = {span.span_id for span in found}
    assert len(ids) == len(found)
    assert len({span.trace_id for span in found}) == 1
    (root,) = [span for span in found if span.parent_id not in ids]
    assert root.parent_id == outer
    parents = {span.span_id: span.parent_id for span in found}
    for span in found:
        seen = set()
        at = span.span_id
        while at != root.span_id:
            assert at not in seen, "a circle"
            seen.add(at)
            at = parents[at]
    assert all(span.start_ns <= span.end_ns for span in found)
    return root


def test_a_request_through_all_stages_is_one_tree() -> None:
    """The front door's span is the root; consumers hang under producers, calls under the caller."""
    found = spans(ended())
    root = check_tree(found, outer="b7ad6b7169203331")
    assert (root.service, root.kind, root.name) == ("gateway", SpanKind.SERVER, "chat small")
    assert Counter(span.kind for span in found) == {
        SpanKind.SERVER: 1,
        SpanKind.CONSUMER: 4,
        SpanKind.PRODUCER: 5,
        SpanKind.CLIENT: 1,
    }
    assert (
        named(found, "process cache-misses").parent_id == named(found, "send cache-misses").span_id
    )
    assert named(found, "send cache-misses").parent_id == (
        named(found, "process inference-requests-p0").span_id
    )
    assert named(found, "send inference-results").service == "model-caller"
    assert {span.service for span in found} == {"gateway", *STAGES}


def test_spans_have_the_times_of_the_hops() -> None:
    """Unix ns, from when the request was accepted."""
    found = spans(ended())
    root = named(found, "send inference-requests-p0")
    assert (root.start_ns, root.end_ns) == (START_NS + 1_000_000, START_NS + 1_000_000)
    router = named(found, "process cache-misses")
    assert (router.start_ns - START_NS, router.end_ns - START_NS) == (10_000_000, 12_000_000)
    whole = check_tree(found, outer="b7ad6b7169203331")
    assert (whole.start_ns - START_NS, whole.end_ns - START_NS) == (0, 250_000_000)


def test_a_consumer_says_where_it_read() -> None:
    """In OpenTelemetry's names."""
    attributes = named(spans(ended()), "process routed-requests").attributes
    assert attributes["messaging.system"] == "kafka"
    assert attributes["messaging.operation.type"] == "process"
    assert attributes["messaging.destination.name"] == "routed-requests"
    assert attributes["messaging.destination.partition.id"] == "3"
    assert attributes["messaging.kafka.offset"] == 103
    assert attributes["messaging.consumer.group.name"] == "batcher"


def test_a_call_has_what_it_cost() -> None:
    """In OpenTelemetry's names for generative AI."""
    (call,) = [span for span in spans(ended()) if span.kind is SpanKind.CLIENT]
    assert (call.service, call.name) == ("model-caller", "chat small")
    assert call.span_id == span_id_for(request_id(), "model-caller", 1)
    assert call.parent_id == span_id_for(request_id(), "model-caller")
    assert call.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "simulator",
        "gen_ai.request.model": "small",
        "gen_ai.request.stream": False,
        "gen_ai.response.model": "small",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.time_to_first_chunk": 0.1,
        "gen_ai.usage.input_tokens": 9,
        "gen_ai.usage.output_tokens": 12,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "http.response.status_code": 200,
        "millrace.attempt": 1,
        "millrace.cost_nanousd": 77,
        "millrace.upstream.request_id": "up-1",
    }


def test_a_failed_call_says_why() -> None:
    """And has no answer to tell of."""
    found = spans(ended(calls=(CALL, FAILED_CALL)))
    (call,) = [span for span in found if span.error == "provider_error"]
    assert call.attributes["error.type"] == "provider_error"
    assert "gen_ai.response.model" not in call.attributes
    assert "http.response.status_code" not in call.attributes
    check_tree(found, outer="b7ad6b7169203331")


def test_the_root_says_what_became_of_the_request() -> None:
    """Whose it was, how it ended, what it cost, who decided; no text of it."""
    error = Failure(code="provider_error", message="secret words")
    event = ended(outcome="failed", error=error, feature="search", cost_nanousd=5)
    root = check_tree(spans(event), outer="b7ad6b7169203331")
    assert root.error == "provider_error"
    assert root.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "small",
        "millrace.request.id": request_id(),
        "millrace.tenant": "acme",
        "millrace.outcome": "failed",
        "millrace.cache.outcome": "miss",
        "millrace.cost_nanousd": 5,
        "millrace.feature": "search",
        "millrace.route.strategy": "fixed",
        "millrace.route.config_version": "abc",
        "error.type": "provider_error",
    }


@pytest.mark.parametrize(
    ("changes", "door"),
    [
        pytest.param({}, "gateway", id="all_stages"),
        pytest.param({"hops": HOPS[:2], "calls": ()}, "gateway", id="hit"),
        pytest.param({"hops": HOPS[:3], "calls": ()}, "gateway", id="refused_by_the_router"),
        pytest.param({"hops": HOPS[1:2], "calls": ()}, "gateway", id="no_front_door"),
        pytest.param({"hops": (), "calls": ()}, "gateway", id="no_hops"),
        pytest.param({"hops": (), "calls": (), "key_id": ""}, "producer", id="a_producer_s"),
        pytest.param(
            {"hops": (Hop(service="producer"), *HOPS[1:]), "key_id": ""}, "producer", id="produced"
        ),
    ],
)
@pytest.mark.parametrize("context", [TRACEPARENT, "", "nonsense"])
def test_every_end_is_a_tree(changes: dict[str, Any], door: str, context: str) -> None:
    """With a caller's trace under its span, else with a root of its own."""
    event = ended(**changes)
    root = check_tree(
        spans(event, context), outer="b7ad6b7169203331" if context == TRACEPARENT else ""
    )
    assert root.service == door
    if context != TRACEPARENT:
        assert root.trace_id == trace_id_for(request_id())


def test_a_gateway_s_own_context_is_the_root_of_the_tree() -> None:
    """What a gateway writes where the caller brought nothing names its own span as the parent."""
    own = traceparent(request_context(request_id(), None))
    assert check_tree(spans(ended(), own), outer="").service == "gateway"


def test_a_provider_s_span_joins_the_trace() -> None:
    """The parent that a provider was handed is the span of the call."""
    event = ended()
    context = request_context(event.request_id, read_traceparent(TRACEPARENT))
    (call,) = [span for span in spans(event) if span.kind is SpanKind.CLIENT]
    assert call.trace_id == context.trace_id


def test_a_batch_links_its_members_and_they_link_it() -> None:
    """It has a trace of its own, from its first member's arrival to its leaving."""
    events = [
        msgspec.structs.replace(
            ended(), request_id=request_id(number), accepted_at=int(START_MS) + number
        )
        for number in (1, 2)
    ]
    members = [(event, context_of(event, "")) for event in events]
    batch = batch_span("batch_1", members)
    assert (batch.parent_id, batch.trace_id) == ("", trace_id_for("batch_1"))
    assert (batch.service, batch.kind) == ("batcher", SpanKind.INTERNAL)
    assert batch.attributes == {
        "messaging.batch.message_count": 3,
        "millrace.batch.id": "batch_1",
    }
    assert (batch.start_ns - START_NS, batch.end_ns - START_NS) == (16_000_000, 19_000_000)
    for (event, context), link in zip(members, batch.links, strict=True):
        found = list(spans_of(event, context))
        consumer = named(found, "process routed-requests")
        assert (link.trace_id, link.span_id) == (consumer.trace_id, consumer.span_id)
        called = named(found, "process request-batches-p0")
        assert [(it.trace_id, it.span_id) for it in called.links] == [
            (batch.trace_id, batch.span_id)
        ]
        assert called.attributes["messaging.batch.message_count"] == 3


def test_a_member_without_the_hop_does_not_break_its_batch() -> None:
    """A record of an older version of the stages still has a span."""
    event = ended(hops=())
    assert batch_span("batch_1", [(event, context_of(event, ""))]).start_ns == START_NS


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, False, id="plain"),
        pytest.param({"outcome": "failed"}, True, id="failed"),
        pytest.param({"outcome": "expired"}, True, id="expired"),
        pytest.param({"calls": (CALL, CALL)}, True, id="repeated"),
        pytest.param({"finished_at": int(START_MS) + 10_000}, True, id="slow"),
        pytest.param({"finished_at": int(START_MS) + 9_999}, False, id="not_slow"),
        pytest.param({"cache": CacheEvidence(outcome="exact_hit"), "calls": ()}, False, id="hit"),
    ],
)
def test_failures_and_slow_requests_are_always_kept(
    *, changes: dict[str, Any], expected: bool
) -> None:
    """Whatever the share of the rest."""
    event = ended(**changes)
    assert is_kept(event, trace_id="f" * 32, ratio=0.5, slow_ms=10_000) is expected


@given(st.integers(0, 2**128 - 1), st.floats(0, 1), st.floats(0, 1))
def test_a_share_of_the_rest_is_kept(number: int, ratio: float, larger: float) -> None:
    """By the trace's id alone: none at 0, all at 1, and more at a larger share."""
    trace_id = f"{number:032x}"

    def kept(share: float) -> bool:
        return is_kept(ended(), trace_id=trace_id, ratio=share, slow_ms=10_000)

    assert not kept(0.0)
    assert kept(1.0)
    if larger >= ratio and kept(ratio):
        assert kept(larger)


def test_the_share_is_as_large_as_asked_for() -> None:
    """One in a hundred of many."""
    traces = [trace_id_for(str(number)) for number in range(20_000)]
    kept = sum(is_kept(ended(), trace_id=it, ratio=0.01, slow_ms=10_000) for it in traces)
    assert 130 < kept < 280
