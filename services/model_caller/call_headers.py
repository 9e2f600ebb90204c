"""Headers of a call beside those that the provider's adapter adds."""

from services.shared.domain.events import InferenceRequested
from services.shared.domain.tracing import (
    TraceContext,
    read_traceparent,
    request_context,
    span_id_for,
    traceparent,
)


def call_headers(request: InferenceRequested, *, service: str, attempt: int) -> dict[str, str]:
    """The trace context of a call, and an id by which it can be found.

    Args:
        request: The request, or the first of those that share the call.
        service: Who calls.
        attempt: Number of the call within the request.
    """
    span = span_id_for(request.request_id, service, attempt)
    caller = read_traceparent(request.traceparent)
    context = request_context(request.request_id, caller)
    headers = {
        "traceparent": traceparent(
            TraceContext(trace_id=context.trace_id, parent_id=span, is_sampled=context.is_sampled)
        ),
        "x-millrace-attempt-id": f"{request.request_id}-{attempt}",
    }
    if request.tracestate:
        headers["tracestate"] = request.tracestate
    return headers
