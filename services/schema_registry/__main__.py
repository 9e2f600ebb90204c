"""Runs the schema registry: ``python -m services.schema_registry``."""

import asyncio
import logging
import os
import sys
from typing import Final

import uvicorn
import uvloop

from services.schema_registry.app import make_app
from services.schema_registry.metrics import RegistryMetrics
from services.schema_registry.packaged import packaged_schemas, packaged_subjects
from services.schema_registry.registry import Registry
from services.schema_registry.settings import SchemaRegistrySettings
from services.shared.adapters.environment import settings_from_environment
from services.shared.adapters.uvicorn_server import Server
from services.shared.codec.schemas import SchemaStore
from services.shared.codec.topics import packaged_topics
from services.shared.domain.errors import InvalidConfiguration
from services.shared.stream.schema_log import KafkaSchemaLog
from services.shared.stream.service import EXIT_CONFIGURATION, connection_from
from services.shared.telemetry.logs import set_up_logging
from services.shared.telemetry.probes import serve_probes

_LOG = logging.getLogger("services.schema_registry")
_SERVICE: Final = "schema-registry"
_SHUTDOWN_S: Final = 5
_IDLE_S: Final = 30
_MAX_CONNECTIONS: Final = 512
_LEAVE_S: Final = 3


async def serve(settings: SchemaRegistrySettings) -> None:
    """Serve until told to stop.

    Raises:
        InvalidConfiguration: The log in Kafka cannot be ours. Not retriable.
    """
    log = KafkaSchemaLog(
        connection_from(settings, client_id=_SERVICE), topic=settings.registry_topic
    )
    store = SchemaStore.packaged()
    topics = {topic: spec.record for topic, spec in packaged_topics().items()}
    registry = Registry(
        log, packaged=packaged_schemas(store), subjects=packaged_subjects(store, topics)
    )
    metrics = RegistryMetrics()
    if settings.metrics_port >= 0:
        serve_probes(
            host=settings.metrics_host,
            port=settings.metrics_port,
            registry=metrics.registry,
            is_live=lambda: True,
            is_ready=lambda: registry.is_ready,
        )
    server = Server(
        uvicorn.Config(
            make_app(registry, metrics),
            host=settings.registry_host,
            port=settings.registry_port,
            log_config=None,
            access_log=False,
            lifespan="off",
            limit_concurrency=_MAX_CONNECTIONS,
            timeout_keep_alive=_IDLE_S,
            timeout_graceful_shutdown=_SHUTDOWN_S,
        ),
        log=_LOG,
    )
    stopping = asyncio.Event()
    following = asyncio.create_task(registry.run(stopping))
    following.add_done_callback(lambda _: setattr(server, "should_exit", True))
    try:
        await server.serve()
    finally:
        stopping.set()
        await _end(following)


async def _end(following: "asyncio.Task[None]") -> None:
    """Let the registry leave its log; a broker that does not answer is not waited for."""
    try:
        async with asyncio.timeout(_LEAVE_S):
            await following
    except TimeoutError:
        _LOG.warning("leaving without the log's answer")


def main() -> None:
    """Run as this process; the exit code is 0 when told to stop, 78 for a wrong configuration."""
    try:
        settings = settings_from_environment(SchemaRegistrySettings, os.environ)
        set_up_logging(service=_SERVICE, level=settings.log_level)
        uvloop.run(serve(settings))
    except InvalidConfiguration as error:
        _LOG.error("%s", error)
        sys.exit(EXIT_CONFIGURATION)


if __name__ == "__main__":
    main()
