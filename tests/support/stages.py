"""All stages of the pipeline, wired as in their ``__main__`` but to things in memory.

stages = Stages(providers={"first": ScriptedProvider(answered)})
for stage in stages.all():
await pipeline.start(stage)
stages.publish(pipeline, requested(1, model="small"))      # as a gateway of ours would
await pipeline.run_until_quiet()
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from itertools import count
from typing import Any

import msgspec

from services.batcher.processor import CONSUMES as ROUTED
from services.batcher.processor import BatcherProcessor, BatchMetrics
from services.cache_lookup.__main__ import looking_up
from services.cache_lookup.processor import CONSUMES as REQUESTED
from services.cache_writer.judges import Judges
from services.cache_writer.processor import CONSUMES as FINISHED
from services.cache_writer.processor import CacheWriterProcessor, WriterMetrics
from services.model_caller.__main__ import connected
from services.model_caller.calls import Service
from services.model_caller.processor import ModelCallerProcessor
from services.router.__main__ import routing
from services.router.processor import CONSUMES as MISSED
from services.shared.adapters.numpy_semantic_index import NumpySemanticIndex
from services.shared.codec.headers import RETRY, SIGNATURE, signature
from services.shared.codec.records import encode_record
from services.shared.domain.cache_times import CacheTimes
from services.shared.domain.configuration import (
    Configuration,
    KafkaProducers,
    Model,
    ModelTarget,
    PriceOverride,
    Provider,
    Timeouts,
    VirtualKey,
)
from services.shared.domain.events import InferenceRequested
from services.shared.domain.model_facts import ModelFacts
from services.shared.domain.routing.routing_table import RoutingTable
from services.shared.domain.semantic_modes import SemanticModes
from services.shared.domain.spans import Span
from services.shared.domain.topics import BATCH_TOPICS, REQUEST_TOPICS, RETRY_TOPICS
from services.shared.ports.encoder import Encoder
from services.shared.stream.loop import Process
from services.shared.stream.shapes import polled, timed
from services.shared.stream.stage import Stage, Tools
from services.trace_exporter.processor import CONSUMES as ENDED
from services.trace_exporter.processor import Sampling, TraceExporterProcessor
from tests.support.memory_cache import MemoryCache
from tests.support.pipeline import Pipeline, default_headers
from tests.support.scripted_provider import ScriptedProvider

SECRET = b"a secret of the gateways"
PRICE = PriceOverride(input_usd_per_mtok=Decimal(1), output_usd_per_mtok=Decimal(2))
_TIMEOUTS = Timeouts(first_token_s=10, inter_token_s=5, total_s=20)


def configuration(**changes: Any) -> Configuration:
    """Aliases ``small`` (with a fallback), ``only`` and ``embed`` on two providers."""
    provider = Provider(
        base_url="http://p/v1", timeouts=_TIMEOUTS, free=True, isolates_inputs_by_index=True
    )
    first, second = (
        ModelTarget(provider=name, model=f"{name}-model", price=PRICE)
        for name in ("first", "second")
    )
    plain = Configuration(
        providers={"first": provider, "second": provider},
        models={
            "small": Model(targets=(first, second)),
            "only": Model(targets=(first,)),
            "embed": Model(targets=(first,)),
        },
        keys=(VirtualKey(id="key-1", tenant="acme", hash="0" * 64),),
        kafka_producers=KafkaProducers(enabled=True),
    )
    return msgspec.structs.replace(plain, **changes)


def _nothing(_place: str) -> None:
    """A process that lives."""


class Sink:
    """Keeps spans."""

    def __init__(self) -> None:
        """Start empty."""
        self.spans: list[Span] = []

    def put(self, spans: Iterable[Span]) -> None:
        """See ``SpanSink``."""
        self.spans.extend(spans)


class NoCatalog:
    """Knows no model."""

    def facts(self, *, provider: str, model: str, at_ms: int) -> ModelFacts | None:
        """See ``ModelCatalog``."""
        del provider, model, at_ms
        return None


class Stages:
    """The stages of one pipeline.

    Attributes:
        configuration: What they were started with.
        cache: The response cache.
        sink: Where spans go.
        pass_by: Told which crash point a model caller passes.
        encoder: What questions are compared by; None = by nothing.
    """

    def __init__(
        self,
        providers: Mapping[str, ScriptedProvider],
        *,
        configuration: Configuration = configuration(),  # noqa: B008  # frozen
    ) -> None:
        """Wire them to these providers."""
        self.configuration = configuration
        self.cache = MemoryCache()
        self.sink = Sink()
        self.encoder: Encoder | None = None
        self.pass_by: Callable[[str], None] = _nothing
        self._providers = providers
        self._batches = count(1)
        self._runs = count(1)

    def _pass_by(self, place: str) -> None:
        self.pass_by(place)

    def all(self) -> list[Stage]:
        """Every stage, in the order of the flow."""
        return [
            self.cache_lookup,
            self.router,
            self.batcher,
            self.model_caller,
            self.cache_writer,
            self.trace_exporter,
        ]

    @property
    def cache_lookup(self) -> Stage:
        """Requests in."""

        @asynccontextmanager
        async def build(tools: Tools) -> AsyncIterator[Process[Any]]:
            index = NumpySemanticIndex(max_entries=1_000)  # it is in the process's memory
            async with looking_up(
                tools,
                self.configuration,
                cache=self.cache,
                secret=SECRET,
                saw=lambda _priority: None,
                compared_by=None if self.encoder is None else (self.encoder, index),
            ) as process:
                yield process

        return Stage(service="cache-lookup", topics=REQUESTED, build=build)

    @property
    def router(self) -> Stage:
        """Misses in."""

        @asynccontextmanager
        async def build(tools: Tools) -> AsyncIterator[Process[Any]]:
            table = RoutingTable(self.configuration, NoCatalog().facts)
            async with routing(tools, table) as process:
                yield process

        return Stage(service="router", topics=MISSED, build=build)

    @property
    def batcher(self) -> Stage:
        """Routed requests in."""

        @asynccontextmanager
        async def build(tools: Tools) -> AsyncIterator[Process[Any]]:
            processor = BatcherProcessor(
                self.configuration,
                new_batch_id=lambda: f"batch_{next(self._batches)}",
                metrics=BatchMetrics(tools.registry),
            )
            async with timed(processor, clock=tools.clock) as process:
                yield process

        return Stage(service="batcher", topics=ROUTED, build=build)

    @property
    def model_caller(self) -> Stage:
        """Batches in."""

        @asynccontextmanager
        async def build(tools: Tools) -> AsyncIterator[Process[Any]]:
            services = {
                name: Service(provider, _TIMEOUTS, max_in_flight=100)
                for name, provider in self._providers.items()
            }
            async with connected(
                tools,
                self.configuration,
                services,
                run=f"run{next(self._runs):09}",
                cache=self.cache,
                jitter=lambda: 0.0,
                pass_by=self._pass_by,
            ) as caller:
                yield ModelCallerProcessor(caller).process

        return Stage(
            service="model-caller",
            topics=BATCH_TOPICS,
            delayed=RETRY_TOPICS,
            build=build,
            drain_s=600.0,
            leaves_first=True,
        )

    @property
    def cache_writer(self) -> Stage:
        """Terminal records in."""

        @asynccontextmanager
        async def build(tools: Tools) -> AsyncIterator[Process[Any]]:
            processor = CacheWriterProcessor(
                cache=self.cache,
                times=CacheTimes(self.configuration),
                policy=self.configuration.cache,
                metrics=WriterMetrics(tools.registry),
                judges=None
                if self.encoder is None
                else Judges(
                    cache=self.cache,
                    modes=SemanticModes(self.configuration),
                    encoder=self.encoder,
                    registry=tools.registry,
                ),
            )
            yield polled(processor.process, clock=tools.clock)

        return Stage(service="cache-writer", topics=FINISHED, build=build)

    @property
    def trace_exporter(self) -> Stage:
        """Terminal records in."""

        @asynccontextmanager
        async def build(tools: Tools) -> AsyncIterator[Process[Any]]:
            sampling = Sampling(ratio=1.0, slow_ms=10_000)
            processor = TraceExporterProcessor(sink=self.sink, sampling=sampling)
            yield polled(processor.process, clock=tools.clock)
            processor.close()

        return Stage(service="trace-exporter", topics=ENDED, build=build)


def publish(
    pipeline: Pipeline,
    request: InferenceRequested,
    *,
    partition: int | None = None,
    retry: bool = False,
) -> int:
    """Publish a request as a gateway of ours does: signed; returns its offset.

    Args:
        pipeline: Where.
        request: What.
        partition: Explicit partition; None = by the fingerprint.
        retry: Its client repeats what he gave up waiting for.
    """
    value = encode_record(request)
    headers = [*default_headers(request, value), (SIGNATURE, signature(SECRET, value))]
    if retry:
        headers.append((RETRY, b"1"))
    topic = REQUEST_TOPICS[request.priority]
    key = (request.fingerprint or request.request_id).encode()
    return pipeline.pipe_raw(topic, value, key=key, headers=headers, partition=partition)
