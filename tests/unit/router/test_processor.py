"""The router's processor: one record in, a route or an end out."""

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from services.router.processor import CONSUMES, EMITS, RouterMetrics, RouterProcessor
from services.shared.domain.configuration import Configuration, KafkaProducers
from services.shared.domain.default_configuration import DEMO_MODEL, simulator_configuration
from services.shared.domain.emit import Emit
from services.shared.domain.events import (
    CacheEvidence,
    CacheMissed,
    CacheOutcome,
    Hop,
    InferenceFinished,
    InferenceRequested,
    RequestRouted,
    ResultChunk,
)
from services.shared.domain.model_facts import ModelFacts
from services.shared.domain.routing.routing_table import RoutingTable
from services.shared.domain.topics import Topic

NOW_MS = 1_790_000_000_500.25
REQUEST = InferenceRequested(
    request_id="req_0123456789",
    operation="chat",
    body=b"{}",
    model=DEMO_MODEL,
    accepted_at=1_790_000_000_000,
    reply_partition=5,
)
MISSED = CacheMissed(
    request=REQUEST,
    cache=CacheEvidence(outcome=CacheOutcome.BYPASS.value),
    hops=(Hop(service="gateway"), Hop(service="cache-lookup")),
)


class NoCatalog:
    """Fails when it is asked: a stack on the simulator must not need prices."""

    def facts(self, *, provider: str, model: str, at_ms: int) -> ModelFacts | None:
        """See ``ModelCatalog``."""
        pytest.fail(f"asked for {provider}/{model} at {at_ms}")


def processed(
    missed: CacheMissed,
    configuration: Configuration | None = None,
    registry: CollectorRegistry | None = None,
) -> list[Emit]:
    """What the router emits for a record."""
    table = RoutingTable(configuration or simulator_configuration(), NoCatalog().facts)
    processor = RouterProcessor(table, metrics=RouterMetrics(registry or CollectorRegistry()))
    return list(processor.process(missed, NOW_MS))


def test_a_request_is_routed_with_all_that_it_carries() -> None:
    """One record leaves, with request, evidence and hops as they came and the route added."""
    (emit,) = processed(MISSED)
    assert (emit.topic, emit.key, emit.partition) == (
        Topic.ROUTED_REQUESTS,
        REQUEST.request_id,
        None,
    )
    assert emit.request == REQUEST
    routed = emit.event
    assert isinstance(routed, RequestRouted)
    assert (routed.request, routed.cache, routed.hops) == (REQUEST, MISSED.cache, MISSED.hops)
    assert routed.lane == "simulator/sim-chat/chat"
    assert [target.model for target in routed.route.targets] == ["sim-chat", "sim-fast"]


def test_a_refusal_ends_the_request_and_tells_the_waiting_client() -> None:
    """The client's chunk goes to its gateway's partition; the terminal record says why."""
    request = msgspec.structs.replace(REQUEST, model="nobody")
    chunk, ending = processed(msgspec.structs.replace(MISSED, request=request))
    assert (chunk.topic, chunk.partition) == (Topic.RESULT_CHUNKS, 5)
    assert isinstance(chunk.event, ResultChunk)
    assert (chunk.event.kind, chunk.event.status, chunk.event.attempt) == ("error", 404, 0)
    assert chunk.event.headers["x-cache"] == "bypass"
    error = msgspec.json.decode(chunk.event.payload)["error"]
    assert (error["code"], error["type"]) == ("model_not_found", "invalid_request_error")
    assert ending.topic == Topic.INFERENCE_RESULTS
    finished = ending.event
    assert isinstance(finished, InferenceFinished)
    assert finished.outcome == "failed"
    assert finished.error is not None
    assert (finished.error.code, finished.error.status) == ("model_not_found", 404)
    assert (finished.hops, finished.cache) == (MISSED.hops, MISSED.cache)
    assert finished.finished_at == int(NOW_MS)


def test_where_nobody_waits_only_the_terminal_is_written() -> None:
    """A refused request of a Kafka producer gets no chunk."""
    request = msgspec.structs.replace(REQUEST, model="nobody", reply_partition=-1)
    emits = processed(msgspec.structs.replace(MISSED, request=request))
    assert [emit.topic for emit in emits] == [Topic.INFERENCE_RESULTS]


def test_producers_are_refused_where_they_are_not_served() -> None:
    """The switch in the configuration governs them, not what their records say."""
    configuration = msgspec.structs.replace(
        simulator_configuration(), kafka_producers=KafkaProducers(enabled=False)
    )
    emits = processed(MISSED, configuration)
    finished = emits[-1].event
    assert isinstance(finished, InferenceFinished)
    assert finished.error is not None
    assert finished.error.code == "invalid_api_key"


def test_it_emits_only_what_it_declares() -> None:
    """Topics of all emits are among those the module declares."""
    refused = msgspec.structs.replace(MISSED, request=msgspec.structs.replace(REQUEST, model="x"))
    topics = {emit.topic for missed in (MISSED, refused) for emit in processed(missed)}
    assert topics == set(EMITS)
    assert CONSUMES == (Topic.CACHE_MISSES,)


def test_decisions_are_counted_by_what_they_are() -> None:
    """Routed requests by strategy, refused ones by code; no name of a caller's becomes a label."""
    registry = CollectorRegistry()
    processed(MISSED, registry=registry)
    name = "millrace_routing_decisions_total"
    assert registry.get_sample_value(name, {"strategy": "fixed", "result": "routed"}) == 1
    registry = CollectorRegistry()
    processed(
        msgspec.structs.replace(MISSED, request=msgspec.structs.replace(REQUEST, model="x")),
        registry=registry,
    )
    assert registry.get_sample_value(name, {"strategy": "", "result": "model_not_found"}) == 1
