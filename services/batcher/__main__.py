"""Wires the batcher."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.batcher.processor import CONSUMES, BatcherProcessor, BatchMetrics
from services.batcher.settings import BatcherSettings
from services.shared.adapters.environment import (
    configuration_from_environment,
    process_environment,
    settings_from_environment,
)
from services.shared.adapters.system_clock import SystemClock
from services.shared.domain.events import RequestRouted
from services.shared.stream.loop import Process
from services.shared.stream.service import run_stage
from services.shared.stream.shapes import timed
from services.shared.stream.stage import Stage, Tools

SERVICE = "batcher"


def _new_batch_id() -> str:
    return f"batch_{uuid.uuid4().hex}"


@asynccontextmanager
async def _build(tools: Tools) -> AsyncIterator[Process[RequestRouted]]:
    processor = BatcherProcessor(
        configuration_from_environment(process_environment()),
        new_batch_id=_new_batch_id,
        metrics=BatchMetrics(tools.registry),
    )
    async with timed(processor, clock=tools.clock) as process:
        yield process


def main() -> None:
    """Run the service."""
    settings = settings_from_environment(BatcherSettings, process_environment())
    run_stage(Stage(service=SERVICE, topics=CONSUMES, build=_build), settings, clock=SystemClock())


if __name__ == "__main__":
    main()
