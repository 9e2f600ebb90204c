"""Starts the local models: ``python -m services.local_models``."""

import logging
import os

import uvicorn
import uvloop

from services.local_models.app import EmbeddingModel, make_app
from services.local_models.metrics import LocalModelsMetrics
from services.local_models.settings import LocalModelsSettings
from services.shared.adapters.environment import settings_from_environment
from services.shared.adapters.minilm.pinned import encoder_folder
from services.shared.adapters.system_clock import SystemClock
from services.shared.adapters.uvicorn_server import Server
from services.shared.telemetry.logs import set_up_logging

_logger = logging.getLogger("services.local_models")

_SHUTDOWN_S = 3
_KEEP_ALIVE_S = 75


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
    await Server(config, log=_logger).serve()


def main() -> None:
    """Read the settings and serve until a signal comes."""
    settings = settings_from_environment(LocalModelsSettings, os.environ)
    set_up_logging(service="local-models", level=settings.log_level)
    uvloop.run(_serve(settings))


if __name__ == "__main__":
    main()
