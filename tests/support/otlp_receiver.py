"""An OTLP/HTTP receiver for traces, on a free port of 127.0.0.1."""

import contextlib
import gzip
import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status


class ReceivedSpan(msgspec.Struct, frozen=True):
    """A span as it came over the wire.

    Attributes:
        resource: Attributes of its resource.
        name: Its name.
        kind: Its kind, e.g. ``SPAN_KIND_CLIENT``.
        trace_id: 32 hex digits.
        span_id: 16 hex digits.
        parent_id: 16 hex digits; empty = a root.
        start_ns: Unix ns.
        end_ns: Unix ns.
        attributes: Its attributes.
        links: Trace and span ids of its links.
        error: Message of its error status; empty = none.
    """

    resource: dict[str, Any]
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    start_ns: int
    end_ns: int
    attributes: dict[str, Any]
    links: tuple[tuple[str, str], ...]
    error: str


class OtlpReceiver:
    """What was received.

    Attributes:
        url: Its root, for ``OTEL_EXPORTER_OTLP_ENDPOINT``.
        spans: All spans.
        requests: Number of exports.
    """

    def __init__(self, url: str) -> None:
        """Start empty."""
        self.url = url
        self.spans: list[ReceivedSpan] = []
        self.requests = 0

    def take(self, body: bytes) -> None:
        """Take an export."""
        self.requests += 1
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            about = _attributes(resource.resource.attributes)
            for scope in resource.scope_spans:
                self.spans += [_received(about, span) for span in scope.spans]


@contextlib.contextmanager
def otlp_receiver() -> Iterator[OtlpReceiver]:
    """A receiver for the length of a ``with`` block."""
    receiver: OtlpReceiver

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            is_traces = self.path == "/v1/traces"
            if is_traces:
                receiver.take(body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(HTTPStatus.OK if is_traces else HTTPStatus.NOT_FOUND)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver = OtlpReceiver(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()


def _received(resource: dict[str, Any], span: ProtoSpan) -> ReceivedSpan:
    is_error = span.status.code == Status.StatusCode.STATUS_CODE_ERROR
    return ReceivedSpan(
        resource=resource,
        name=span.name,
        kind=ProtoSpan.SpanKind.Name(span.kind),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        attributes=_attributes(span.attributes),
        links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        error=span.status.message if is_error else "",
    )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair) for pair in pairs}


def _value(pair: KeyValue) -> Any:
    value: AnyValue = pair.value
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [item.string_value for item in value.array_value.values]
    return getattr(value, kind) if kind is not None else None
