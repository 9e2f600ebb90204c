"""Wires the cache writer."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from services.cache_writer.judges import Judges
from services.cache_writer.processor import CONSUMES, CacheWriterProcessor, WriterMetrics
from services.cache_writer.settings import CacheWriterSettings
from services.shared.adapters.environment import (
    configuration_from_environment,
    process_environment,
    settings_from_environment,
)
from services.shared.adapters.redis_response_cache import RedisResponseCache, connected_redis
from services.shared.adapters.system_clock import SystemClock
from services.shared.domain.cache_times import CacheTimes
from services.shared.domain.configuration import Configuration
from services.shared.domain.errors import Unavailable
from services.shared.domain.events import InferenceFinished
from services.shared.domain.semantic_modes import SemanticModes
from services.shared.ports.response_cache import ResponseCache
from services.shared.stream.loop import Process
from services.shared.stream.service import run_stage
from services.shared.stream.shapes import polled
from services.shared.stream.stage import Stage, Tools

_LOG = logging.getLogger(__name__)
SERVICE = "cache-writer"
_PAUSE_S = 0.01
_TIMEOUT_S = 1.0
"""Nobody waits for a write, so it may take longer than a look-up."""


def main() -> None:
    """Run the service."""
    environ = process_environment()
    settings = settings_from_environment(CacheWriterSettings, environ)

    @asynccontextmanager
    async def build(tools: Tools) -> AsyncIterator[Process[InferenceFinished]]:
        configuration = configuration_from_environment(environ)
        async with connected_redis(settings.redis_url) as redis:
            cache = RedisResponseCache(redis, clock=tools.clock, timeout_s=_TIMEOUT_S)
            processor = CacheWriterProcessor(
                cache=cache,
                times=CacheTimes(configuration),
                policy=configuration.cache,
                metrics=WriterMetrics(tools.registry),
                judges=await _judges(tools, configuration, cache, environ),
            )
            yield polled(processor.process, clock=tools.clock)

    stage = Stage(service=SERVICE, topics=CONSUMES, build=build, pause_s=_PAUSE_S)
    run_stage(stage, settings, clock=SystemClock())


async def _judges(
    tools: Tools, configuration: Configuration, cache: ResponseCache, environ: Mapping[str, str]
) -> Judges | None:
    """What the verified mode learns from; the encoder is loaded only where an alias has it."""
    modes = SemanticModes(configuration)
    if not modes.is_any_verified:
        return None
    from services.shared.adapters.minilm.encoder import load_encoder  # noqa: PLC0415
    from services.shared.adapters.minilm.pinned import encoder_folder  # noqa: PLC0415

    try:
        encoder = await asyncio.to_thread(load_encoder, encoder_folder(environ))
    except Unavailable as error:
        _LOG.error("answers are not compared: %s", error)
        return None
    return Judges(cache=cache, modes=modes, encoder=encoder, registry=tools.registry)


if __name__ == "__main__":
    main()
