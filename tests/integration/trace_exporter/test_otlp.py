"""Spans as a real OTLP/HTTP receiver gets them."""

import socket
import time
from collections import Counter

import msgspec
import pytest

from services.shared.domain.events import InferenceFinished
from services.shared.domain.tracing import span_id_for, trace_id_for
from services.shared.telemetry.otlp_spans import otlp_sink
from services.trace_exporter.processor import Sampling, TraceExporterProcessor
from tests.support.golden_events import COMPLETED, FAILED, HOPS, TRACEPARENT
from tests.support.open_record import RecordInWork
from tests.support.otlp_receiver import OtlpReceiver, otlp_receiver

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACE_ID, CALLER = TRACEPARENT.split("-")[1:3]
JOURNEY = tuple(
    msgspec.structs.replace(HOPS[-1], service=service, topic=topic)
    for service, topic in (
        ("batcher", "routed-requests"),
        ("model-caller", "request-batches-p1"),
    )
)
ANSWERED = msgspec.structs.replace(COMPLETED, hops=(*HOPS, *JOURNEY), batch_size=1)
ALL = Sampling(ratio=1.0, slow_ms=10_000)


async def exported(*events: InferenceFinished, by: OtlpReceiver) -> None:
    """Export the spans of these events, to the last one."""
    sink = otlp_sink()
    exporter = TraceExporterProcessor(sink=sink, sampling=ALL)
    headers = {"traceparent": TRACEPARENT.encode()}
    works = [RecordInWork(event, headers=headers) for event in events]
    await exporter.process(works, 0.0)
    exporter.close()
    sink.close()
    assert by.requests > 0


async def test_a_request_arrives_as_one_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each stage is a resource; the call has what OpenTelemetry says of generative AI."""
    with otlp_receiver() as receiver:
        monkeypatch.setenv(ENDPOINT, receiver.url)
        await exported(ANSWERED, by=receiver)
    spans = {span.span_id: span for span in receiver.spans if span.trace_id == TRACE_ID}
    parents = Counter(span.parent_id for span in spans.values() if span.parent_id not in spans)
    assert parents == {CALLER: 1}
    assert {span.resource["service.name"] for span in spans.values()} == {
        "gateway",
        "cache-lookup",
        "router",
        "batcher",
        "model-caller",
    }
    assert {span.resource["service.namespace"] for span in spans.values()} == {"millrace"}
    calls = [span for span in spans.values() if span.kind == "SPAN_KIND_CLIENT"]
    failed, answered = sorted(calls, key=lambda span: span.start_ns)
    assert failed.error == "provider_overloaded"
    assert answered.span_id == span_id_for(ANSWERED.request_id, "model-caller", 2)
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "simulator",
        "gen_ai.request.model": "sim-chat",
        "gen_ai.response.model": "sim-chat",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 1200,
        "gen_ai.usage.output_tokens": 85,
        "gen_ai.usage.cache_read.input_tokens": 1024,
        "gen_ai.response.time_to_first_chunk": 0.0805,
    }
    assert {name: answered.attributes[name] for name in expected} == expected
    assert (answered.end_ns - answered.start_ns) / 1e6 == 760.25
    kinds = Counter(span.kind for span in spans.values())
    assert kinds == {
        "SPAN_KIND_SERVER": 1,
        "SPAN_KIND_CONSUMER": 4,
        "SPAN_KIND_PRODUCER": 5,
        "SPAN_KIND_CLIENT": 2,
    }


async def test_a_batch_arrives_with_its_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a trace of its own, linked both ways."""
    with otlp_receiver() as receiver:
        monkeypatch.setenv(ENDPOINT, receiver.url)
        await exported(ANSWERED, by=receiver)
    (batch,) = [span for span in receiver.spans if span.name == "batch"]
    assert batch.trace_id == trace_id_for("batch_0123")
    assert batch.links == ((TRACE_ID, span_id_for(ANSWERED.request_id, "batcher")),)
    linking = [span for span in receiver.spans if span.links and span is not batch]
    assert [span.name for span in linking] == ["process request-batches-p1"]
    assert linking[0].links == ((batch.trace_id, batch.span_id),)


async def test_a_failure_arrives_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its code as the error; no text of the request or of the answer is in any span."""
    with otlp_receiver() as receiver:
        monkeypatch.setenv(ENDPOINT, receiver.url)
        await exported(FAILED, ANSWERED, by=receiver)
    (root,) = [span for span in receiver.spans if span.error == "model_not_found"]
    assert root.attributes["error.type"] == "model_not_found"
    assert root.resource["service.name"] == "producer"
    everything = repr([(span.name, span.attributes) for span in receiver.spans])
    assert "Meer" not in everything
    assert "Bis zu" not in everything


async def test_a_receiver_that_is_away_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans are dropped; taking them and ending are bounded in time."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv(ENDPOINT, f"http://127.0.0.1:{port}")
    sink = otlp_sink()
    exporter = TraceExporterProcessor(sink=sink, sampling=ALL)
    events = [msgspec.structs.replace(ANSWERED, request_id=f"r-{i}") for i in range(400)]
    began_s = time.monotonic()
    try:  # more spans than the queue of the sink holds
        await exporter.process([RecordInWork(event) for event in events], 0.0)
        taken_s = time.monotonic() - began_s
        exporter.close()
    finally:  # else its thread tries again, and draws random numbers, beside every later test
        sink.close()
    assert taken_s < 5
    assert time.monotonic() - began_s < 10
