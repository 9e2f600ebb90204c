"""Wires the cache lookup."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from uuid import uuid4

from services.cache_lookup.flights import Flights
from services.cache_lookup.health import said_of_entries, said_of_judgements
from services.cache_lookup.joining import Joining
from services.cache_lookup.pacing import Pacing
from services.cache_lookup.processor import CONSUMES, CacheLookupProcessor, LookupMetrics
from services.cache_lookup.producers import readmission
from services.cache_lookup.settings import CacheLookupSettings
from services.cache_lookup.similar.metrics import SemanticMetrics, watch_entries
from services.cache_lookup.similar.seeking import Seeking
from services.cache_lookup.similar.tier import SemanticTier
from services.cache_lookup.verified.gatekeeper import Controllers, Gatekeeper
from services.cache_lookup.verified.metrics import VerifiedMetrics
from services.cache_lookup.verified.reask import Reasks
from services.shared.adapters.environment import (
    configuration_from_environment,
    process_environment,
    settings_from_environment,
)
from services.shared.adapters.redis_response_cache import RedisResponseCache, connected_redis
from services.shared.adapters.secret_file import read_secret
from services.shared.adapters.system_clock import SystemClock
from services.shared.domain.cache_times import CacheTimes
from services.shared.domain.configuration import Configuration
from services.shared.domain.errors import Unavailable
from services.shared.domain.events import InferenceRequested
from services.shared.domain.semantic_modes import SemanticModes
from services.shared.domain.topics import Topic
from services.shared.ports.clock import Clock
from services.shared.ports.encoder import Encoder
from services.shared.ports.response_cache import ResponseCache
from services.shared.ports.semantic_index import SemanticIndex
from services.shared.stream.background import BackgroundTasks
from services.shared.stream.backlog import KafkaBacklog
from services.shared.stream.client import TopicPartition
from services.shared.stream.control_log import follow_control
from services.shared.stream.entry_log import EntryFollower
from services.shared.stream.judgement_log import follow_judgements
from services.shared.stream.loop import Process
from services.shared.stream.result_follower import ResultFollower, following
from services.shared.stream.service import connection_from, run_stage
from services.shared.stream.stage import Stage, Tools

_LOG = logging.getLogger(__name__)
SERVICE = "cache-lookup"
_BEHIND_US = {Topic.CACHE_MISSES.value: "router", Topic.ROUTED_REQUESTS.value: "batcher"}
"""Groups of the stages after this one, by the shared topics that they read."""

_DRAIN_S = 1.0
"""Time of open records at shutdown: requests that wait for others are better delivered again."""


def main() -> None:
    """Run the service."""
    environ = process_environment()
    settings = settings_from_environment(CacheLookupSettings, environ)

    @asynccontextmanager
    async def build(tools: Tools) -> AsyncIterator[Process[InferenceRequested]]:
        configuration = configuration_from_environment(environ)
        backlog = KafkaBacklog(
            connection_from(settings, client_id=f"{SERVICE}-{settings.slot}-backlog"),
            tools.log,
            groups=_BEHIND_US,
            partitions={topic: tools.outbox.partition_count(topic) for topic in _BEHIND_US},
        )
        pacing = Pacing(backlog, hold_lane=tools.hold_lane)
        looking = asyncio.create_task(pacing.run())
        async with (
            connected_redis(settings.redis_url) as redis,
            _compared_by(settings, environ, configuration, tools.clock) as compared_by,
            looking_up(
                tools,
                configuration,
                cache=RedisResponseCache(redis, clock=tools.clock),
                secret=read_secret(settings.secret_file),
                saw=pacing.saw,
                compared_by=compared_by,
            ) as process,
        ):
            yield process
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking
        await backlog.stop()

    stage = Stage(service=SERVICE, topics=CONSUMES, build=build, drain_s=_DRAIN_S)
    run_stage(stage, settings, clock=SystemClock())


class _Watcher:
    """Finds what has ended already before records of new partitions are taken."""

    def __init__(self, joining: Joining, follower: ResultFollower) -> None:
        self._joining = joining
        self._follower = follower

    async def assigned(self, positions: Mapping[TopicPartition, int]) -> None:
        """See ``AssignmentWatcher``."""
        if positions:
            self._joining.assigned()
            await self._follower.find_ends(positions)

    async def revoked(self, partitions: frozenset[TopicPartition]) -> None:
        """See ``AssignmentWatcher``: nothing is to be settled."""

    async def at_rest(self) -> None:
        """See ``AssignmentWatcher``: whoever joined is served by whoever comes next."""


@asynccontextmanager
async def looking_up(  # noqa: PLR0913  # named, one a collaborator
    tools: Tools,
    configuration: Configuration,
    *,
    cache: ResponseCache,
    secret: bytes,
    saw: Callable[[int], None],
    compared_by: tuple[Encoder, SemanticIndex] | None,
) -> AsyncIterator[Process[InferenceRequested]]:
    """The look-up and all that runs beside it.

    Args:
        tools: The runtime's.
        configuration: The configuration.
        cache: The exact cache.
        secret: What gateways sign requests with.
        saw: Told the priority of every request.
        compared_by: What questions are compared by; None = no alias has a semantic tier.
    """
    joining = Joining(
        clock=tools.clock,
        registry=tools.registry,
        holder=tools.slot or f"{SERVICE}-{uuid4().hex}",
        flights=Flights(capped_features=configuration.features.keys()),
    )
    tasks = BackgroundTasks(on_failure=tools.outbox.give_up)
    tasks.start(
        follow_control(
            tools.log,
            partitions=tools.outbox.partition_count(Topic.CONTROL),
            now_ms=tools.clock.now_ms(),
            hear=joining.hear,
        )
    )
    seeking = reasks = None
    if compared_by is not None:
        encoder, index = compared_by
        modes = SemanticModes(configuration)
        controllers = _controllers(tools, configuration, tasks) if modes.is_any_verified else None
        if controllers is not None:
            reasks = Reasks(controllers, modes)
        seeking = _seeking(
            tools,
            configuration,
            cache=cache,
            encoder=encoder,
            index=index,
            gatekeeper=controllers,
        )
        tasks.start(_follower(tools, index).follow())
    processor = CacheLookupProcessor(
        cache=cache,
        joining=joining,
        clock=tools.clock,
        times=CacheTimes(configuration),
        secret=secret,
        readmit=readmission(configuration),
        metrics=LookupMetrics(tools.registry),
        saw=saw,
        seeking=seeking,
        reasks=reasks,
    )
    if seeking is not None:
        tasks.start(seeking.run(processor.conclude))
    try:
        async with following(tools, joining, joining.tend) as follower:
            tools.watch(_Watcher(joining, follower))
            yield processor.process
    finally:
        await tasks.stop()


def _controllers(tools: Tools, configuration: Configuration, tasks: BackgroundTasks) -> Controllers:
    """The controllers of the verified mode, kept as ``cache-judgements`` says."""
    controllers = Controllers(most_wrong=configuration.cache.semantic.most_wrong)
    VerifiedMetrics(tools.registry, controllers)
    tools.tell("cache-judgements", lambda: said_of_judgements(is_read=controllers.is_read))
    tasks.start(
        follow_judgements(
            tools.log,
            partitions=tools.outbox.partition_count(Topic.CACHE_JUDGEMENTS),
            hear=controllers.apply,
            caught_up=controllers.caught_up,
        )
    )
    return controllers


def _seeking(  # noqa: PLR0913  # one a collaborator
    tools: Tools,
    configuration: Configuration,
    *,
    cache: ResponseCache,
    encoder: Encoder,
    index: SemanticIndex,
    gatekeeper: Gatekeeper | None,
) -> Seeking:
    tier = SemanticTier(
        encoder=encoder,
        index=index,
        cache=cache,
        clock=tools.clock,
        modes=SemanticModes(configuration),
        policy=configuration.cache.semantic,
        times=CacheTimes(configuration),
        gatekeeper=gatekeeper,
        metrics=SemanticMetrics(tools.registry),
    )
    return Seeking(tier)


def _follower(tools: Tools, index: SemanticIndex) -> EntryFollower:
    follower = EntryFollower(
        tools.log,
        index,
        partition_count=tools.outbox.partition_count(Topic.CACHE_ENTRIES),
        clock=tools.clock,
    )
    watch_entries(
        tools.registry,
        entries=lambda: follower.put,
        read_ratio=lambda: follower.read_ratio,
    )
    tools.tell("cache-entries", lambda: said_of_entries(follower.read_ratio, follower.put))
    return follower


@asynccontextmanager
async def _compared_by(
    settings: CacheLookupSettings,
    environ: Mapping[str, str],
    configuration: Configuration,
    clock: Clock,
) -> AsyncIterator[tuple[Encoder, SemanticIndex] | None]:
    """Encoder and index; their libraries are imported only where an alias compares by meaning."""
    if not SemanticModes(configuration).are_any_on:
        yield None
        return
    from services.shared.adapters.minilm.encoder import load_encoder  # noqa: PLC0415
    from services.shared.adapters.minilm.pinned import encoder_folder  # noqa: PLC0415

    try:
        encoder = await asyncio.to_thread(load_encoder, encoder_folder(environ))
    except Unavailable as error:
        _LOG.error("questions are not compared: %s", error)
        yield None
        return
    policy = configuration.cache.semantic
    if not settings.qdrant_url:
        from services.shared.adapters import numpy_semantic_index as embedded  # noqa: PLC0415

        yield encoder, embedded.NumpySemanticIndex(max_entries=policy.max_entries)
        return
    from services.shared.adapters.qdrant_semantic_index import qdrant_index  # noqa: PLC0415

    async with qdrant_index(
        settings.qdrant_url,
        api_key=settings.qdrant_api_key,
        encoder=encoder,
        max_entries=policy.max_entries,
        clock=clock,
    ) as index:
        yield encoder, index


if __name__ == "__main__":
    main()
