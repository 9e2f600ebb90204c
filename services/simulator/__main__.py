"""Starts the simulator: ``python -m services.simulator``."""

import asyncio
import logging
import os
from pathlib import Path

import uvicorn
import uvloop

from services.shared.adapters.environment import settings_from_environment
from services.shared.adapters.system_clock import SystemClock
from services.shared.adapters.uvicorn_server import Server
from services.shared.telemetry.logs import set_up_logging
from services.simulator.app import Simulator
from services.simulator.connection import SimulatorProtocol
from services.simulator.journal import Journal
from services.simulator.settings import SimulatorSettings
from services.simulator.ticker import Ticker

_logger = logging.getLogger("services.simulator")

_SHUTDOWN_S = 3
_KEEP_ALIVE_S = 75
_RUN_ID_BYTES = 8


async def _serve(settings: SimulatorSettings) -> None:
    path = settings.simulator_call_log
    journal = Journal(Path(path)) if path else None
    simulator = Simulator(
        settings,
        unix_ms=SystemClock().now_ms,
        run_id=os.urandom(_RUN_ID_BYTES).hex(),
        ticker=Ticker(asyncio.get_running_loop()),
        journal=journal,
    )
    config = uvicorn.Config(
        simulator,
        host=settings.simulator_host,
        port=settings.simulator_port,
        http=SimulatorProtocol,
        ws="none",
        lifespan="off",
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_SHUTDOWN_S,
    )
    await Server(config, log=_logger).serve()
    if journal is not None:
        await journal.close()


def main() -> None:
    """Read the settings and serve until a signal comes."""
    settings = settings_from_environment(SimulatorSettings, os.environ)
    set_up_logging(service="simulator", level=settings.log_level)
    uvloop.run(_serve(settings))


if __name__ == "__main__":
    main()
