"""Wires the model caller."""

import random
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from services.model_caller.calls import Service
from services.model_caller.decide import RetryBudget
from services.model_caller.gate_metrics import GateMetrics
from services.model_caller.gates import Gates
from services.model_caller.metrics import CallMetrics
from services.model_caller.processor import CONSUMES, DELAYED, ModelCallerProcessor
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
from services.shared.domain.configuration import Provider
from services.shared.domain.events import RequestBatch, RequestRouted
from services.shared.stream.lanes import PoolLimits
from services.shared.stream.loop import Process
from services.shared.stream.provider_health import shared_health
from services.shared.stream.service import run_stage
from services.shared.stream.stage import Stage
from services.shared.stream.stage import Tools as StageTools

_SLOTS = PoolLimits(records=4096, size_bytes=512 * 1024 * 1024)


@asynccontextmanager
async def _build(stage: StageTools) -> AsyncIterator[Process[RequestBatch | RequestRouted]]:
    environ = process_environment()
    configuration = configuration_from_environment(environ)
    async with AsyncExitStack() as stack:
        services = {}
        for name, provider in configuration.providers.items():
            first, *others = [
                await _connect(stack, provider, url, environ)
                for url in (provider.base_url, *provider.endpoints)
            ]
            services[name] = Service(
                first,
                provider.timeouts,
                max_in_flight=provider.max_in_flight,
                others=tuple(others),
                requests_per_minute=provider.requests_per_minute,
                tokens_per_minute=provider.tokens_per_minute,
            )
        run = uuid.uuid4().hex[:12]
        gates = Gates(
            services,
            owner=run,
            clock=stage.clock,
            jitter=random.random,
            metrics=GateMetrics(stage.registry),
        )
        gates.publish = await stack.enter_async_context(
            shared_health(gates.adopt, log=stage.log, outbox=stage.outbox)
        )
        tools = Tools(
            run=run,
            gates=gates,
            retries=configuration.retries,
            budget=RetryBudget(ratio=configuration.retries.budget_ratio),
            clock=stage.clock,
            jitter=random.random,
            metrics=CallMetrics(stage.registry),
        )
        yield ModelCallerProcessor(tools).process


async def _connect(
    stack: AsyncExitStack, provider: Provider, base_url: str, environ: Mapping[str, str]
) -> AiohttpModelProvider:
    endpoint = Endpoint(
        base_url=base_url,
        api_keys=api_keys_of(provider, environ),
        connect_s=provider.timeouts.connect_s,
        trust=tls_context(environ, ca_bundle=provider.ca_bundle),
        proxy=provider.proxy or proxy_for(base_url, environ),
    )
    session = await stack.enter_async_context(open_session(endpoint))
    return AiohttpModelProvider(endpoint, session=session)


def main() -> None:
    """Run the service."""
    settings = settings_from_environment(ModelCallerSettings, process_environment())
    stage = Stage(service=SERVICE, topics=CONSUMES, delayed=DELAYED, build=_build, limits=_SLOTS)
    run_stage(stage, settings, clock=SystemClock())


if __name__ == "__main__":
    main()
