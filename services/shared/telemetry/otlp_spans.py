"""Spans to an OTLP endpoint, by OpenTelemetry's SDK: batched, bounded, dropped when too many.

The endpoint, its headers and its certificate come from the standard ``OTEL_EXPORTER_OTLP_*``
variables, which the SDK reads itself.
"""

import threading
from collections.abc import Iterable

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link as OtelLink
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from services.shared.domain.spans import Link, Span

_QUEUE_SPANS = 8192
_BATCH_SPANS = 512
_EVERY_MS = 1000
_TIMEOUT_MS = 2000
_TIMEOUT_S = 2
_CLOSE_S = 3.0
_SCOPE = InstrumentationScope("millrace")


class OtlpSpanSink:
    """Exports in the background; ``close`` waits for it, within a bounded time."""

    def __init__(self, exporter: SpanExporter) -> None:
        """Export by this exporter."""
        self._exporter = exporter
        self._processor = BatchSpanProcessor(
            exporter,
            max_queue_size=_QUEUE_SPANS,
            max_export_batch_size=_BATCH_SPANS,
            schedule_delay_millis=_EVERY_MS,
            export_timeout_millis=_TIMEOUT_MS,
        )
        self._resources: dict[str, Resource] = {}

    def put(self, spans: Iterable[Span]) -> None:
        """Take finished spans."""
        for span in spans:
            self._processor.on_end(self._readable(span))

    def close(self) -> None:
        """Export what is queued, for a few seconds at most, and stop."""
        giving_up = threading.Timer(_CLOSE_S, self._exporter.shutdown)
        giving_up.start()
        try:
            self._processor.shutdown()  # type: ignore[no-untyped-call]  # the SDK's own omission
        finally:
            giving_up.cancel()

    def _readable(self, span: Span) -> ReadableSpan:
        parent = _context(Link(span.trace_id, span.parent_id)) if span.parent_id else None
        return ReadableSpan(
            name=span.name,
            context=_context(Link(span.trace_id, span.span_id)),
            parent=parent,
            resource=self._resource(span.service),
            attributes=span.attributes,
            links=[OtelLink(_context(link)) for link in span.links],
            kind=SpanKind[span.kind.upper()],
            status=Status(StatusCode.ERROR, span.error) if span.error else Status(),
            start_time=span.start_ns,
            end_time=max(span.start_ns, span.end_ns),
            instrumentation_scope=_SCOPE,
        )

    def _resource(self, service: str) -> Resource:
        if service not in self._resources:
            self._resources[service] = Resource.create(
                {"service.name": service, "service.namespace": "millrace"}
            )
        return self._resources[service]


def otlp_sink() -> OtlpSpanSink:
    """A sink for the endpoint that the environment names."""
    return OtlpSpanSink(OTLPSpanExporter(timeout=_TIMEOUT_S))


def _context(link: Link) -> SpanContext:
    return SpanContext(
        trace_id=int(link.trace_id, 16),
        span_id=int(link.span_id, 16),
        is_remote=False,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )
