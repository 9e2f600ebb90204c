"""Finished spans as values."""

from enum import StrEnum

import msgspec

Attributes = dict[str, str | bool | int | float | tuple[str, ...]]


class SpanKind(StrEnum):
    """OpenTelemetry's span kinds."""

    INTERNAL = "internal"
    SERVER = "server"
    CLIENT = "client"
    PRODUCER = "producer"
    CONSUMER = "consumer"


class Link(msgspec.Struct, frozen=True):
    """A span elsewhere that belongs to this one.

    Attributes:
        trace_id: 32 hex digits.
        span_id: 16 hex digits.
    """

    trace_id: str
    span_id: str


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """A finished span.

    Attributes:
        service: Service that did the work; the span's resource.
        name: Its name.
        kind: Its kind.
        trace_id: 32 hex digits.
        span_id: 16 hex digits.
        parent_id: 16 hex digits; empty = it is a root.
        start_ns: Unix ns.
        end_ns: Unix ns.
        attributes: By OpenTelemetry's names.
        links: Spans that belong to it.
        error: Why it failed; empty = it did not.
    """

    service: str
    name: str
    kind: SpanKind
    trace_id: str
    span_id: str
    parent_id: str
    start_ns: int
    end_ns: int
    attributes: Attributes
    links: tuple[Link, ...] = ()
    error: str = ""
