"""Runs a service that folds one topic into a Faust table as a process.

Exit codes as in ``services.shared.stream.service``.
"""

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

import uvloop

from services.shared.codec.records import prepare_codec
from services.shared.domain.errors import InvalidConfiguration, MustStop
from services.shared.domain.settings import ServiceSettings
from services.shared.ports.clock import Clock
from services.shared.stream.faust_runtime import FoldRuntime, FoldStage
from services.shared.stream.service import EXIT_CONFIGURATION, EXIT_MUST_STOP, connection_from
from services.shared.stream.slots import Slot
from services.shared.telemetry.logs import set_up_logging
from services.shared.telemetry.probes import serve_probes

_LOG = logging.getLogger(__name__)


def run_fold_stage(stage: FoldStage, settings: ServiceSettings, *, clock: Clock) -> None:
    """Run a service that folds as this process; does not return."""
    set_up_logging(service=stage.service, level=settings.log_level)
    try:
        uvloop.run(_main(stage, settings, clock))
    except InvalidConfiguration as error:
        _LOG.error("%s", error)
        sys.exit(EXIT_CONFIGURATION)


async def _main(stage: FoldStage, settings: ServiceSettings, clock: Clock) -> None:
    slot = None
    if settings.data:
        slot = Slot.hold(
            data=Path(settings.data),
            service=stage.service,
            ordinal=settings.slot,
            now_ms=clock.now_ms(),
        )
    prepare_codec()
    runtime = FoldRuntime(
        stage=stage,
        connection=connection_from(settings, client_id=f"{stage.service}-{settings.slot}"),
        clock=clock,
        instance_id=None if slot is None else slot.name,
    )
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
        )
    code = 0
    try:
        await runtime.run()
    except MustStop as error:
        _LOG.critical("stopping without another write: %s", error)
        code = EXIT_MUST_STOP
    except InvalidConfiguration as error:
        _LOG.critical("%s", error)
        code = EXIT_CONFIGURATION
    if slot is not None:
        slot.release()  # nothing crashed
    logging.shutdown()
    os._exit(code)  # Faust's thread may be waiting for a broker that is away
