"""Which requests are traced, and the spans of one.

A request is one trace: the front door's span is its root, every stage adds a consumer span under
the producer span of the stage before, and every call to a provider a client span. Ids follow from
the request (``services.shared.domain.tracing``), so a provider that was handed a call's span as
its parent joins the same trace, and a redelivered record makes the same spans again.
Names and attributes: OpenTelemetry's messaging and GenAI conventions.
"""

from collections.abc import Iterator, Sequence

from services.shared.domain.events import Hop, InferenceFinished, ModelCall, Outcome
from services.shared.domain.spans import Attributes, Link, Span, SpanKind
from services.shared.domain.topics import Topic
from services.shared.domain.tracing import (
    TraceContext,
    read_traceparent,
    span_id_for,
    trace_id_for,
)

FRONT_DOORS = frozenset({"gateway", "producer"})
MODEL_CALLER = "model-caller"
BATCHER = "batcher"
_HASH_SPACE = 1 << 56


def is_kept(finished: InferenceFinished, *, trace_id: str, ratio: float, slow_ms: int) -> bool:
    """Whether a request is traced: every failure and every slow one, and a share of the rest.

    Args:
        finished: The terminal record.
        trace_id: Decides about plain successes, so that all who sample by it agree.
        ratio: Share of plain successes, 0..1.
        slow_ms: From when on a request is slow.
    """
    if finished.outcome != Outcome.COMPLETED or len(finished.calls) > 1:
        return True
    if finished.finished_at - finished.accepted_at >= slow_ms:
        return True
    return int(trace_id[-14:], 16) < ratio * _HASH_SPACE


def context_of(finished: InferenceFinished, traceparent: str) -> TraceContext:
    """The context that a request was accepted with: its caller's, or that of no parent."""
    caller = read_traceparent(traceparent)
    if caller is None:
        return TraceContext(trace_id=trace_id_for(finished.request_id), parent_id="")
    return caller


def front_door_of(finished: InferenceFinished) -> str:
    """Where a request came in; a record that was refused or expired at once may not say."""
    if finished.hops and finished.hops[0].service in FRONT_DOORS:
        return finished.hops[0].service
    return "gateway" if finished.key_id else "producer"


def spans_of(finished: InferenceFinished, context: TraceContext) -> Iterator[Span]:
    """All spans of a request."""
    door = front_door_of(finished)
    yield _root(finished, context, door)
    parent = span_id_for(finished.request_id, door)
    for i, hop in enumerate(finished.hops):
        following = finished.hops[i + 1] if i + 1 < len(finished.hops) else None
        own = span_id_for(finished.request_id, hop.service)
        if hop.service not in FRONT_DOORS:
            yield _consumer(finished, context, hop, own, parent)
        if hop.service == MODEL_CALLER:
            for call in finished.calls:
                yield _call(finished, context, call, own)
        sent_to = following.topic if following is not None else Topic.INFERENCE_RESULTS.value
        parent = span_id_for(finished.request_id, f"{hop.service}/send")
        yield _producer(finished, context, hop, sent_to, (own, parent))


def batch_span(batch_id: str, members: Sequence[tuple[InferenceFinished, TraceContext]]) -> Span:
    """The span of a batch, which links its members; it has a trace of its own."""
    starts = [_at(finished, _hop_of(finished).received_ms) for finished, _ in members]
    ends = [_at(finished, _hop_of(finished).finished_ms) for finished, _ in members]
    return Span(
        service=BATCHER,
        name="batch",
        kind=SpanKind.INTERNAL,
        trace_id=trace_id_for(batch_id),
        span_id=span_id_for(batch_id, BATCHER),
        parent_id="",
        start_ns=min(starts),
        end_ns=max(ends),
        attributes={
            "messaging.batch.message_count": members[0][0].batch_size,
            "millrace.batch.id": batch_id,
        },
        links=tuple(
            Link(context.trace_id, span_id_for(finished.request_id, BATCHER))
            for finished, context in members
        ),
    )


def _hop_of(finished: InferenceFinished) -> Hop:
    return next((hop for hop in finished.hops if hop.service == BATCHER), Hop(service=BATCHER))


def _at(finished: InferenceFinished, ms: float) -> int:
    return finished.accepted_at * 1_000_000 + int(ms * 1_000_000)


def _root(finished: InferenceFinished, context: TraceContext, door: str) -> Span:
    own = span_id_for(finished.request_id, door)
    attributes: Attributes = {
        "gen_ai.operation.name": finished.operation,
        "gen_ai.request.model": finished.model,
        "millrace.request.id": finished.request_id,
        "millrace.tenant": finished.tenant,
        "millrace.outcome": finished.outcome,
        "millrace.cache.outcome": finished.cache.outcome,
        "millrace.cost_nanousd": finished.cost_nanousd,
    }
    if finished.feature:
        attributes["millrace.feature"] = finished.feature
    if finished.route is not None:
        attributes["millrace.route.strategy"] = finished.route.strategy
        attributes["millrace.route.config_version"] = finished.route.config_version
    if finished.error is not None:
        attributes["error.type"] = finished.error.code
    return Span(
        service=door,
        name=f"{finished.operation} {finished.model}",
        kind=SpanKind.SERVER if door == "gateway" else SpanKind.INTERNAL,
        trace_id=context.trace_id,
        span_id=own,
        parent_id="" if context.parent_id == own else context.parent_id,
        start_ns=_at(finished, 0),
        end_ns=finished.finished_at * 1_000_000,
        attributes=attributes,
        error=finished.error.code if finished.error is not None else "",
    )


def _consumer(
    finished: InferenceFinished, context: TraceContext, hop: Hop, own: str, parent: str
) -> Span:
    links: tuple[Link, ...] = ()
    attributes = _messaging("process", hop.topic, finished.request_id) | {
        "messaging.consumer.group.name": hop.service,
        "messaging.destination.partition.id": str(hop.partition),
        "messaging.kafka.offset": hop.offset,
    }
    if hop.service == MODEL_CALLER and finished.batch_id:
        links = (Link(trace_id_for(finished.batch_id), span_id_for(finished.batch_id, BATCHER)),)
        attributes["messaging.batch.message_count"] = finished.batch_size
    return Span(
        service=hop.service,
        name=f"process {hop.topic}",
        kind=SpanKind.CONSUMER,
        trace_id=context.trace_id,
        span_id=own,
        parent_id=parent,
        start_ns=_at(finished, hop.received_ms),
        end_ns=_at(finished, hop.finished_ms),
        attributes=attributes,
        links=links,
    )


def _producer(
    finished: InferenceFinished,
    context: TraceContext,
    hop: Hop,
    topic: str,
    ids: tuple[str, str],
) -> Span:
    parent, own = ids
    at_ns = _at(finished, hop.finished_ms)
    return Span(
        service=hop.service,
        name=f"send {topic}",
        kind=SpanKind.PRODUCER,
        trace_id=context.trace_id,
        span_id=own,
        parent_id=parent,
        start_ns=at_ns,
        end_ns=at_ns,
        attributes=_messaging("send", topic, finished.request_id),
    )


def _call(finished: InferenceFinished, context: TraceContext, call: ModelCall, parent: str) -> Span:
    attributes: Attributes = {
        "gen_ai.operation.name": finished.operation,
        "gen_ai.provider.name": call.provider,
        "gen_ai.request.model": call.model,
        "gen_ai.request.stream": finished.stream,
        "gen_ai.usage.input_tokens": call.usage.input_tokens,
        "gen_ai.usage.output_tokens": call.usage.output_tokens,
        "millrace.attempt": call.attempt,
        "millrace.cost_nanousd": call.cost_nanousd,
    }
    if call.usage.cached_input_tokens:
        attributes["gen_ai.usage.cache_read.input_tokens"] = call.usage.cached_input_tokens
    if call.first_chunk_ms >= 0:
        first_s = (call.first_chunk_ms - call.started_ms) / 1000
        attributes["gen_ai.response.time_to_first_chunk"] = first_s
    if not call.error_code:
        attributes["gen_ai.response.model"] = finished.response_model
        attributes["gen_ai.response.finish_reasons"] = (finished.finish_reason,)
    if call.upstream_status:
        attributes["http.response.status_code"] = call.upstream_status
    if call.upstream_request_id:
        attributes["millrace.upstream.request_id"] = call.upstream_request_id
    if call.error_code:
        attributes["error.type"] = call.error_code
    return Span(
        service=MODEL_CALLER,
        name=f"{finished.operation} {call.model}",
        kind=SpanKind.CLIENT,
        trace_id=context.trace_id,
        span_id=span_id_for(finished.request_id, MODEL_CALLER, call.attempt),
        parent_id=parent,
        start_ns=_at(finished, call.started_ms),
        end_ns=_at(finished, call.finished_ms),
        attributes=attributes,
        error=call.error_code,
    )


def _messaging(operation: str, topic: str, request_id: str) -> Attributes:
    return {
        "messaging.system": "kafka",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": topic,
        "messaging.message.conversation_id": request_id,
    }
