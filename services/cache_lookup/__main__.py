"""Wires the cache lookup."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from services.cache_lookup.joining import Joining
from services.cache_lookup.pacing import Pacing
from services.cache_lookup.processor import CONSUMES, CacheLookupProcessor, LookupMetrics
from services.cache_lookup.producers import readmission
from services.cache_lookup.settings import CacheLookupSettings
from services.shared.adapters.environment import (
    configuration_from_environment,
    process_environment,
    settings_from_environment,
)
from services.shared.adapters.redis_response_cache import RedisResponseCache, connected_redis
from services.shared.adapters.secret_file import read_secret
from services.shared.adapters.system_clock import SystemClock
from services.shared.domain.cache_times import CacheTimes
from services.shared.domain.events import InferenceRequested
from services.shared.domain.topics import Topic
from services.shared.stream.backlog import KafkaBacklog
from services.shared.stream.loop import Process
from services.shared.stream.result_follower import following
from services.shared.stream.service import connection_from, run_stage
from services.shared.stream.stage import Stage, Tools

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
        joining = Joining(clock=tools.clock, registry=tools.registry)
        async with (
            connected_redis(settings.redis_url) as redis,
            following(tools, joining, joining.tend),
        ):
            processor = CacheLookupProcessor(
                cache=RedisResponseCache(redis, clock=tools.clock),
                joining=joining,
                clock=tools.clock,
                times=CacheTimes(configuration),
                secret=read_secret(settings.secret_file),
                readmit=readmission(configuration),
                metrics=LookupMetrics(tools.registry),
                saw=pacing.saw,
            )
            yield processor.process
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking
        await backlog.stop()

    stage = Stage(service=SERVICE, topics=CONSUMES, build=build, drain_s=_DRAIN_S)
    run_stage(stage, settings, clock=SystemClock())


if __name__ == "__main__":
    main()
