"""W3C trace context, and span ids that need no span.

The hot path makes no spans: a span's id follows from the request, the stage and the attempt, so
whoever makes the spans later, from the topics alone, and a provider that was handed one as its
parent, agree on it. Source of the format: W3C Trace Context, §3.2.
"""

import hashlib
import re

import msgspec

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_NO_TRACE = "0" * 32
_NO_SPAN = "0" * 16
_SAMPLED = 1


class TraceContext(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request stands in a trace.

    Attributes:
        trace_id: 32 hex digits.
        parent_id: Span of whoever called, 16 hex digits.
        is_sampled: Whether the caller records the trace.
    """

    trace_id: str
    parent_id: str
    is_sampled: bool = False


def read_traceparent(text: str) -> TraceContext | None:
    """Read a ``traceparent``; None when it is malformed, all zero or of version ff."""
    match = _TRACEPARENT.fullmatch(text)
    if match is None:
        return None
    version, trace_id, parent_id, flags, rest = match.groups()
    if version == "ff" or trace_id == _NO_TRACE or parent_id == _NO_SPAN:
        return None
    if version == "00" and rest is not None:
        return None
    return TraceContext(
        trace_id=trace_id, parent_id=parent_id, is_sampled=bool(int(flags, 16) & _SAMPLED)
    )


def traceparent(context: TraceContext) -> str:
    """Render a ``traceparent``."""
    return f"00-{context.trace_id}-{context.parent_id}-{_SAMPLED * context.is_sampled:02x}"


def trace_id_for(request_id: str) -> str:
    """The trace of a request whose caller brought none."""
    return hashlib.sha256(f"trace:{request_id}".encode()).hexdigest()[:32]


def span_id_for(request_id: str, stage: str, attempt: int = 0) -> str:
    """The span of a stage's work on a request; of one call, where ``attempt`` is not 0."""
    text = f"span:{request_id}:{stage}:{attempt}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def request_context(request_id: str, caller: TraceContext | None) -> TraceContext:
    """The context a request is accepted with: its caller's, or the root of a new trace.

    The root's parent is the front door's own span, which therefore has no parent itself.
    """
    if caller is not None:
        return caller
    return TraceContext(
        trace_id=trace_id_for(request_id), parent_id=span_id_for(request_id, "gateway")
    )
