"""Wires the model caller."""

import random
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from services.model_caller.attempt_index import AttemptIndex
from services.model_caller.calls import Service
from services.model_caller.cancels import Cancels
from services.model_caller.decide import RetryBudget
from services.model_caller.embedded_inputs import EmbeddedInputs, InputMetrics
from services.model_caller.gate_metrics import GateMetrics
from services.model_caller.gates import Gates
from services.model_caller.journal import Journal
from services.model_caller.metrics import CallMetrics
from services.model_caller.packing import CallLimits
from services.model_caller.processor import CONSUMES, DELAYED, ModelCallerProcessor
from services.model_caller.prompt_marks import marking
from services.model_caller.redelivery import policies
from services.model_caller.reviews import Reviews
from services.model_caller.serving import SERVICE
from services.model_caller.settings import ModelCallerSettings
from services.model_caller.sharing import Sharing
from services.model_caller.sharing_metrics import SharingMetrics
from services.model_caller.tools import Tools
from services.shared.adapters.aiohttp_model_provider import (
    AiohttpModelProvider,
    Endpoint,
    open_session,
)
from services.shared.adapters.cascade_calibration import calibrations_of
from services.shared.adapters.environment import (
    api_keys_of,
    configuration_from_environment,
    process_environment,
    settings_from_environment,
)
from services.shared.adapters.proxies import proxy_for
from services.shared.adapters.redis_response_cache import RedisResponseCache, connected_redis
from services.shared.adapters.system_clock import SystemClock
from services.shared.adapters.tls import tls_context
from services.shared.domain.cache_times import CacheTimes
from services.shared.domain.configuration import Configuration, Provider
from services.shared.domain.events import ModelCallAttempt, RequestBatch, RequestRouted
from services.shared.domain.topics import Topic
from services.shared.ports.response_cache import ResponseCache
from services.shared.stream.attempt_log import AttemptLogReader
from services.shared.stream.background import BackgroundTasks
from services.shared.stream.chunk_history import ChunkHistoryReader
from services.shared.stream.client import TopicPartition
from services.shared.stream.control_log import follow_control
from services.shared.stream.crash_points import CrashPoint, crash_point, is_armed
from services.shared.stream.lanes import PoolLimits
from services.shared.stream.loop import Process
from services.shared.stream.provider_health import shared_health
from services.shared.stream.service import run_stage
from services.shared.stream.stage import Stage
from services.shared.stream.stage import Tools as StageTools

_SLOTS = PoolLimits(records=4096, size_bytes=512 * 1024 * 1024)


class _Watcher:
    """Reads the attempt log back before records of a partition are taken."""

    def __init__(self, log: AttemptLogReader, journal: Journal) -> None:
        self._log = log
        self._journal = journal

    async def assigned(self, positions: Mapping[TopicPartition, int]) -> None:
        """See ``AssignmentWatcher``."""
        await self._log.prepare({it.partition for it in positions})
        self._journal.regain(positions)

    async def revoked(self, partitions: frozenset[TopicPartition]) -> None:
        """See ``AssignmentWatcher``."""
        await self._journal.release(frozenset((it.topic, it.partition) for it in partitions))

    async def at_rest(self) -> None:
        """See ``AssignmentWatcher``."""
        await self._journal.at_rest()


@asynccontextmanager
async def connected(  # noqa: PLR0913  # named, and wired in one place
    stage: StageTools,
    configuration: Configuration,
    services: Mapping[str, Service],
    *,
    run: str,
    cache: ResponseCache,
    jitter: Callable[[], float] = random.random,
    pass_by: CrashPoint | None = None,
) -> AsyncIterator[Tools]:
    """What serving needs, on the runtime's tools, with all that runs beside it.

    Args:
        stage: The runtime's tools.
        configuration: What ``millrace.yaml`` says.
        services: Providers by name.
        run: Unique to this process.
        cache: Where vectors are kept.
        jitter: Random numbers in [0, 1).
        pass_by: Told which place is passed; None = this process is not to die anywhere.
    """
    clock, index, cancels = stage.clock, AttemptIndex(), Cancels(stage.clock)

    def hear(record: ModelCallAttempt, offset: int, appended_ms: int) -> None:
        index.hear(record, offset=offset, appended_ms=appended_ms, now_s=clock.monotonic_s())

    log = AttemptLogReader(stage.log, clock=clock, listen=hear)
    journal = Journal(
        owner=f"{stage.slot or SERVICE}.{run}",
        holds_slot=stage.slot is not None,
        index=index,
        clock=clock,
        catch_up=log.catch_up,
    )
    beside = BackgroundTasks(on_failure=stage.outbox.give_up)
    beside.start(journal.beat(stage.outbox.send_and_wait))
    partitions = stage.outbox.partition_count(Topic.CONTROL)
    beside.start(
        follow_control(stage.log, partitions=partitions, now_ms=clock.now_ms(), hear=cancels.hear)
    )
    stage.watch(_Watcher(log, journal))
    gates = Gates(
        services,
        owner=journal.owner,
        clock=clock,
        jitter=jitter,
        metrics=GateMetrics(stage.registry),
    )
    budget = RetryBudget(ratio=configuration.retries.budget_ratio)
    embedded = EmbeddedInputs(
        cache,
        times=CacheTimes(configuration),
        clock=clock,
        metrics=InputMetrics(stage.registry),
    )
    health = shared_health(gates.adopt, log=stage.log, outbox=stage.outbox)
    try:
        async with health as gates.publish:
            yield Tools(
                gates=gates,
                retries=configuration.retries,
                budget=budget,
                clock=clock,
                jitter=jitter,
                metrics=CallMetrics(
                    stage.registry,
                    repetitions_left=lambda: budget.left(now_s=clock.monotonic_s()),
                ),
                journal=journal,
                cancels=cancels,
                log=log,
                chunks=ChunkHistoryReader(stage.log),
                on_unknown=policies(configuration.models),
                embedded=embedded,
                sharing=Sharing(embedded, SharingMetrics(stage.registry)),
                marks_prompts=marking(configuration.models),
                pass_by=pass_by or crash_point,
                first_chunk=pass_by,
                review_of=Reviews(
                    configuration,
                    calibrations=calibrations_of(configuration),
                    registry=stage.registry,
                ).of,
            )
    finally:
        await embedded.settle()
        await beside.stop()


@asynccontextmanager
async def _build(stage: StageTools) -> AsyncIterator[Process[RequestBatch | RequestRouted]]:
    environ = process_environment()
    settings = settings_from_environment(ModelCallerSettings, environ)
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
                isolates_inputs=provider.isolates_inputs_by_index,
                call_limits=CallLimits(
                    inputs=provider.inputs_per_call, tokens=provider.tokens_per_call
                ),
                takes_cache_control=provider.takes_cache_control,
            )
        redis = await stack.enter_async_context(connected_redis(settings.redis_url))
        tools = await stack.enter_async_context(
            connected(
                stage,
                configuration,
                services,
                run=uuid.uuid4().hex[:12],
                cache=RedisResponseCache(redis, clock=stage.clock),
                pass_by=crash_point if is_armed() else None,
            )
        )
        yield ModelCallerProcessor(tools).process


async def _connect(
    stack: AsyncExitStack, provider: Provider, base_url: str, environ: Mapping[str, str]
) -> AiohttpModelProvider:
    is_encrypted = base_url.startswith("https:")
    endpoint = Endpoint(
        base_url=base_url,
        api_keys=api_keys_of(provider, environ),
        connect_s=provider.timeouts.connect_s,
        trust=tls_context(environ, ca_bundle=provider.ca_bundle) if is_encrypted else None,
        proxy=provider.proxy or proxy_for(base_url, environ),
    )
    session = await stack.enter_async_context(open_session(endpoint))
    return AiohttpModelProvider(endpoint, session=session)


def main() -> None:
    """Run the service."""
    settings = settings_from_environment(ModelCallerSettings, process_environment())
    stage = Stage(
        service=SERVICE,
        topics=CONSUMES,
        delayed=DELAYED,
        build=_build,
        limits=_SLOTS,
        drain_s=settings.drain_s,
        leaves_first=True,
    )
    run_stage(stage, settings, clock=SystemClock())


if __name__ == "__main__":
    main()
