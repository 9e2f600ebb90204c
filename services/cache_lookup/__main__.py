"""Wires the cache lookup."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

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
from services.shared.stream.loop import Process
from services.shared.stream.service import run_stage
from services.shared.stream.shapes import polled
from services.shared.stream.stage import Stage, Tools

SERVICE = "cache-lookup"


def main() -> None:
    """Run the service."""
    environ = process_environment()
    settings = settings_from_environment(CacheLookupSettings, environ)

    @asynccontextmanager
    async def build(tools: Tools) -> AsyncIterator[Process[InferenceRequested]]:
        configuration = configuration_from_environment(environ)
        async with connected_redis(settings.redis_url) as redis:
            processor = CacheLookupProcessor(
                cache=RedisResponseCache(redis, clock=tools.clock),
                times=CacheTimes(configuration),
                secret=read_secret(settings.secret_file),
                readmit=readmission(configuration),
                metrics=LookupMetrics(tools.registry),
            )
            yield polled(processor.process, clock=tools.clock)

    run_stage(Stage(service=SERVICE, topics=CONSUMES, build=build), settings, clock=SystemClock())


if __name__ == "__main__":
    main()
