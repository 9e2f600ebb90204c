"""Starts the simulator: ``python -m services.simulator``."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import uvicorn
import uvloop

from services.shared.adapters.environment import settings_from_environment
from services.shared.adapters.system_clock import SystemClock
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


class _Server(uvicorn.Server):
    """uvicorn's server, but a signal to stop is a normal end: exit status 0."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say where."""
        await super().startup(sockets)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        _logger.info("listening", extra={"host": host, "port": port})

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


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
    await _Server(config).serve()
    if journal is not None:
        await journal.close()


def main() -> None:
    """Read the settings and serve until a signal comes."""
    settings = settings_from_environment(SimulatorSettings, os.environ)
    set_up_logging(service="simulator", level=settings.log_level)
    uvloop.run(_serve(settings))


if __name__ == "__main__":
    main()
