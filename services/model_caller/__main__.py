"""Wires the model caller."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from services.model_caller.calls import Service
from services.model_caller.decide import RetryBudget
from services.model_caller.metrics import CallMetrics
from services.model_caller.processor import CONSUMES, ModelCallerProcessor
from services.model_caller.serving import SERVICE, Tools
from services.model_caller.settings import ModelCallerSettings
from services.shared.adapters.aiohttp_model_provider import (
    AiohttpModelProvider,
    Endpoint,
    open_session,
)
from services.shared.adapters.environment import (
    api_keys_of,
    configuration_from_environment,
    process_environment,
    settings_from_environment,
)
from services.shared.adapters.proxies import proxy_for
from services.shared.adapters.system_clock import SystemClock
from services.shared.adapters.tls import tls_context
from services.shared.domain.events import RequestBatch
from services.shared.stream.lanes import PoolLimits
from services.shared.stream.loop import Process
from services.shared.stream.service import run_stage
from services.shared.stream.stage import Stage
from services.shared.stream.stage import Tools as StageTools

_SLOTS = PoolLimits(records=4096, size_bytes=512 * 1024 * 1024)


@asynccontextmanager
async def _build(stage: StageTools) -> AsyncIterator[Process[RequestBatch]]:
    environ = process_environment()
    configuration = configuration_from_environment(environ)
    async with AsyncExitStack() as stack:
        services = {}
        for name, provider in configuration.providers.items():
            endpoint = Endpoint(
                base_url=provider.base_url,
                api_keys=api_keys_of(provider, environ),
                connect_s=provider.timeouts.connect_s,
                trust=tls_context(environ, ca_bundle=provider.ca_bundle),
                proxy=provider.proxy or proxy_for(provider.base_url, environ),
            )
            session = await stack.enter_async_context(open_session(endpoint))
            services[name] = Service(
                AiohttpModelProvider(endpoint, session=session),
                provider.timeouts,
                asyncio.Semaphore(provider.max_in_flight),
            )
        tools = Tools(
            run=uuid.uuid4().hex[:12],
            services=services,
            retries=configuration.retries,
            budget=RetryBudget(ratio=configuration.retries.budget_ratio),
            clock=stage.clock,
            jitter=random.random,
            metrics=CallMetrics(stage.registry),
        )
        yield ModelCallerProcessor(tools).process


def main() -> None:
    """Run the service."""
    settings = settings_from_environment(ModelCallerSettings, process_environment())
    stage = Stage(service=SERVICE, topics=CONSUMES, build=_build, limits=_SLOTS)
    run_stage(stage, settings, clock=SystemClock())


if __name__ == "__main__":
    main()
