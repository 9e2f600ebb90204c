"""Starts the local models: ``python -m services.local_models``."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Iterator

import uvicorn
import uvloop

from services.local_models.app import EmbeddingModel, make_app
from services.local_models.metrics import LocalModelsMetrics
from services.local_models.settings import LocalModelsSettings
from services.shared.adapters.environment import settings_from_environment
from services.shared.adapters.minilm.pinned import encoder_folder
from services.shared.adapters.system_clock import SystemClock
from services.shared.telemetry.logs import set_up_logging

_logger = logging.getLogger("services.local_models")

_SHUTDOWN_S = 3
_KEEP_ALIVE_S = 75


class _Server(uvicorn.Server):
    """uvicorn's server, but a signal to stop is a normal end: exit status 0."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say where."""
        await super().startup(sockets)
        _logger.info("listening", extra={"host": self.config.host, "port": self.config.port})

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at SIGTERM and SIGINT without raising them again afterwards."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


async def _serve(settings: LocalModelsSettings) -> None:
    folder = encoder_folder(os.environ)

    def load() -> EmbeddingModel:
        # Only here are numpy and ONNX Runtime needed: 0.3 s and 100 MB.
        from services.shared.adapters.minilm.encoder import load_encoder  # noqa: PLC0415

        encoder = load_encoder(folder, most_waiting=settings.local_models_most_waiting)
        _logger.info("loaded", extra={"build": encoder.build})
        return encoder

    config = uvicorn.Config(
        make_app(load, metrics=LocalModelsMetrics(), clock=SystemClock()),
        host=settings.local_models_host,
        port=settings.local_models_port,
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


def main() -> None:
    """Read the settings and serve until a signal comes."""
    settings = settings_from_environment(LocalModelsSettings, os.environ)
    set_up_logging(service="local-models", level=settings.log_level)
    uvloop.run(_serve(settings))


if __name__ == "__main__":
    main()
