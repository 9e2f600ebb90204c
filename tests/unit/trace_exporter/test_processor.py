"""What is exported of the terminal records that are read."""

from collections.abc import Iterable
from typing import Any

import pytest

from services.shared.domain.events import Hop, InferenceFinished, ModelCall
from services.shared.domain.spans import Span
from services.trace_exporter import processor
from services.trace_exporter.processor import Sampling, TraceExporterProcessor
from tests.support.example_events import TRACEPARENT, finished
from tests.support.open_record import RecordInWork

ALL = Sampling(ratio=1.0, slow_ms=10_000)
FAILURES = Sampling(ratio=0.0, slow_ms=10_000)
HOPS = (Hop(service="gateway"), Hop(service="batcher"), Hop(service="model-caller"))
CALLS = (ModelCall(attempt=1, provider="simulator", model="small", started_ms=1.0),)


class Sink:
    """Keeps spans."""

    def __init__(self) -> None:
        """Start empty."""
        self.spans: list[Span] = []

    def put(self, spans: Iterable[Span]) -> None:
        """See ``SpanSink``."""
        self.spans.extend(spans)

    @property
    def traces(self) -> set[str]:
        """Ids of the traces."""
        return {span.trace_id for span in self.spans}

    @property
    def batches(self) -> list[Span]:
        """Spans of batches."""
        return [span for span in self.spans if span.name == "batch"]


def member(number: int, size: int = 3, **changes: Any) -> InferenceFinished:
    """A member of a batch of this size."""
    fields: dict[str, Any] = {"batch_id": "batch_1", "batch_size": size}
    return finished(number, **{"hops": HOPS, "calls": CALLS, **fields, **changes})


async def export(exporter: TraceExporterProcessor, *events: InferenceFinished) -> None:
    """Let it read these."""
    works = [RecordInWork(event) for event in events]
    assert [list(emits) for emits in await exporter.process(works, 0.0)] == [[] for _ in events]


async def test_the_trace_of_the_headers_is_continued() -> None:
    """And where there is none, one is begun."""
    sink = Sink()
    exporter = TraceExporterProcessor(sink=sink, sampling=ALL)
    headers = {"traceparent": TRACEPARENT.encode()}
    await exporter.process([RecordInWork(finished(1), headers=headers)], 0.0)
    assert sink.traces == {TRACEPARENT.split("-")[1]}
    await exporter.process([RecordInWork(finished(2), headers={"traceparent": b"\xff"})], 0.0)
    assert len(sink.traces) == 2


async def test_the_first_end_of_a_request_is_the_truth() -> None:
    """A redelivered or second terminal record makes no second root."""
    sink = Sink()
    exporter = TraceExporterProcessor(sink=sink, sampling=ALL)
    await export(exporter, member(1), member(1), member(2))
    await export(exporter, member(1, outcome="failed"))
    assert len(sink.spans) == len({span.span_id for span in sink.spans})
    assert all(not span.error for span in sink.spans)
    assert sink.batches == []


async def test_what_is_remembered_of_ends_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest are forgotten."""
    monkeypatch.setattr(processor, "_MAX_REMEMBERED", 2)
    sink = Sink()
    exporter = TraceExporterProcessor(sink=sink, sampling=ALL)
    await export(exporter, finished(1), finished(2), finished(3), finished(3), finished(1))
    roots = [span for span in sink.spans if not span.parent_id]
    assert len(roots) == 4


async def test_a_batch_is_exported_with_its_last_member() -> None:
    """Once, with a link to each."""
    sink = Sink()
    exporter = TraceExporterProcessor(sink=sink, sampling=ALL)
    await export(exporter, member(1), member(2))
    assert sink.batches == []
    await export(exporter, member(3))
    (batch,) = sink.batches
    assert len(batch.links) == 3
    exporter.close()
    assert len(sink.batches) == 1


async def test_a_batch_of_which_few_are_kept_leaves_at_the_end() -> None:
    """It links those that were."""
    sink = Sink()
    exporter = TraceExporterProcessor(sink=sink, sampling=FAILURES)
    await export(exporter, member(1), member(2, outcome="failed"), member(3))
    assert sink.batches == []
    exporter.close()
    assert [len(batch.links) for batch in sink.batches] == [1]


async def test_batches_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest leaves as it is."""
    monkeypatch.setattr(processor, "_MAX_OPEN_BATCHES", 2)
    sink = Sink()
    exporter = TraceExporterProcessor(sink=sink, sampling=ALL)
    await export(exporter, *(member(i, batch_id=f"batch_{i}") for i in range(3)))
    assert [span.attributes["millrace.batch.id"] for span in sink.batches] == ["batch_0"]


async def test_what_is_not_kept_is_not_exported() -> None:
    """Plain successes beyond their share make no span."""
    sink = Sink()
    exporter = TraceExporterProcessor(sink=sink, sampling=FAILURES)
    await export(exporter, finished(1))
    assert sink.spans == []


async def test_without_a_sink_it_only_keeps_up() -> None:
    """No endpoint, no work."""
    exporter = TraceExporterProcessor(sink=None, sampling=ALL)
    await export(exporter, finished(1))
    exporter.close()
