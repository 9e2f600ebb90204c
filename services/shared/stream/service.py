"""Runs a stage of the pipeline as a process: from settings to a clean exit.

Exit codes: 0 = told to stop; 70 = may not go on (fenced, too much poison, an unknown outcome of a
write): a supervisor starts it again; 78 = the configuration cannot work.
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import uvloop

from services.shared.codec.records import prepare_codec
from services.shared.codec.topics import packaged_topics
from services.shared.domain.errors import InvalidConfiguration, MustStop
from services.shared.domain.settings import ServiceSettings
from services.shared.ports.clock import Clock
from services.shared.stream.collector import settle_garbage_collector
from services.shared.stream.kafka_connection import KafkaConnection
from services.shared.stream.kafka_log import KafkaLog
from services.shared.stream.runtime import Runtime
from services.shared.stream.slots import Slot
from services.shared.stream.stage import Stage
from services.shared.telemetry.logs import set_up_logging
from services.shared.telemetry.probes import serve_probes

_LOG = logging.getLogger(__name__)
EXIT_MUST_STOP = 70
EXIT_CONFIGURATION = 78


def connection_from(settings: ServiceSettings, *, client_id: str) -> KafkaConnection:
    """Where Kafka is, from settings."""
    return KafkaConnection(
        bootstrap=settings.kafka_bootstrap,
        security_protocol=settings.kafka_security_protocol,
        sasl_mechanism=settings.kafka_sasl_mechanism,
        sasl_username=settings.kafka_sasl_username,
        sasl_password=settings.kafka_sasl_password,
        ca_file=settings.kafka_ca_file,
        session_timeout_s=settings.kafka_session_timeout_s,
        client_id=client_id,
    )


def written_topics(specs: Mapping[str, Any]) -> list[str]:
    """Every topic and dead-letter topic there is; producers learn their partition counts."""
    return [name for topic, spec in specs.items() for name in (topic, spec.dlq) if name]


def run_stage(stage: Stage, settings: ServiceSettings, *, clock: Clock) -> None:
    """Run a stage as this process; never returns."""
    set_up_logging(service=stage.service, level=settings.log_level)
    try:
        uvloop.run(_main(stage, settings, clock))
    except InvalidConfiguration as error:
        _LOG.error("%s", error)
        sys.exit(EXIT_CONFIGURATION)


async def _main(stage: Stage, settings: ServiceSettings, clock: Clock) -> None:
    slot = None
    if settings.data:
        slot = Slot.hold(
            data=Path(settings.data),
            service=stage.service,
            ordinal=settings.slot,
            now_ms=clock.now_ms(),
        )
    prepare_codec()
    client_id = f"{stage.service}-{settings.slot}"
    log = KafkaLog(
        connection_from(settings, client_id=client_id), topics=written_topics(packaged_topics())
    )
    runtime = Runtime(
        stage=stage,
        log=log,
        clock=clock,
        slot=slot,
        session_timeout_s=settings.kafka_session_timeout_s,
    )
    runtime.on_running = settle_garbage_collector
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, runtime.stopping.set)
    if settings.metrics_port >= 0:
        serve_probes(
            host=settings.metrics_host,
            port=settings.metrics_port,
            registry=runtime.metrics.registry,
            is_live=lambda: runtime.is_alive,
            is_ready=lambda: runtime.is_ready,
            parts=runtime.parts,
        )
    try:
        await runtime.run()
    except MustStop as error:
        _LOG.critical("stopping without another write: %s", error)
        if slot is not None:
            slot.release()  # nothing crashed
        _exit(EXIT_MUST_STOP)
    if slot is not None:
        slot.release()
    _exit(0)


def _exit(code: int) -> None:
    """Leave at once: all is said, and a loop whose broker is away may take for ever to close."""
    logging.shutdown()
    os._exit(code)
