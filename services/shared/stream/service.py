"""Runs a stage of the pipeline as a process: from settings to a clean exit.

Exit codes: 0 = told to stop; 70 = may not go on (fenced, too much poison, an unknown outcome of a
write): a supervisor starts it again; 78 = the configuration cannot work.
"""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from prometheus_client import CollectorRegistry

from services.shared.codec.records import RECORDS
from services.shared.codec.topics import packaged_topics
from services.shared.domain.errors import InvalidConfiguration, MustStop
from services.shared.domain.settings import ServiceSettings
from services.shared.domain.topics import Topic
from services.shared.ports.clock import Clock
from services.shared.stream.client import Log
from services.shared.stream.connecting import connected_producer, until_available
from services.shared.stream.kafka_log import KafkaConnection, KafkaLog
from services.shared.stream.lanes import PoolLimits, SlotPool
from services.shared.stream.loop import ConsumerLoop, Process, Source
from services.shared.stream.outbox import Fence, Outbox
from services.shared.stream.slots import Slot
from services.shared.stream.suspects import Suspects, read_suspects
from services.shared.telemetry.logs import set_up_logging
from services.shared.telemetry.metrics import StageMetrics
from services.shared.telemetry.probes import serve_probes

_LOG = logging.getLogger(__name__)
_TICK_S = 0.5
_UNCONFIRMED_S = 6.0
_STUCK_S = 5.0
EXIT_MUST_STOP = 70
EXIT_CONFIGURATION = 78


class Tools(msgspec.Struct, frozen=True):
    """What the runtime lends to a processor while it is built.

    Attributes:
        clock: The time.
        registry: Where its own metrics go.
        log: To read topics with.
        outbox: To write records that belong to no record in work.
    """

    clock: Clock
    registry: CollectorRegistry
    log: Log
    outbox: Outbox


Build = Callable[[Tools], AbstractAsyncContextManager[Process[Any]]]


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """A stage of the pipeline.

    Attributes:
        service: Its name: consumer group, metrics, logs.
        topics: What it reads; several are lanes, most urgent first.
        build: Makes its processor and whatever that needs, and takes it down again.
        limits: Records and bytes in work at most.
        drain_s: Time that open records get at shutdown, seconds.
    """

    service: str
    topics: Sequence[Topic]
    build: Build
    limits: PoolLimits = PoolLimits(records=2000, size_bytes=256 * 1024 * 1024)
    drain_s: float = 8.0


def sources_of(stage: Stage) -> list[Source]:
    """What a stage's loops read: its topics, each in a group of its own where there are lanes.

    Lanes do not share a group because every join of one member would make the others rejoin.
    """
    lanes = len(stage.topics) > 1
    specs = packaged_topics()
    return [
        Source(
            topic=topic,
            event_type=RECORDS[specs[topic].record],
            group=f"{stage.service}-p{lane}" if lanes else stage.service,
            lane=lane,
            is_public=specs[topic].is_public,
            dlq=specs[topic].dlq,
        )
        for lane, topic in enumerate(stage.topics)
    ]


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


class Runtime:
    """One stage over one log; ``run_stage`` gives it a process, tests give it a fake clock."""

    def __init__(
        self, *, stage: Stage, log: Log, clock: Clock, slot: Slot | None, session_timeout_s: float
    ) -> None:
        """Prepare; ``run`` does the rest."""
        self.stopping = asyncio.Event()
        self.metrics = StageMetrics(CollectorRegistry())
        self._stage = stage
        self._log = log
        self._clock = clock
        self._slot = slot
        self._fence = Fence(clock=clock, session_timeout_s=session_timeout_s)
        self._fatal: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._loops: list[ConsumerLoop[Any]] = []
        self._pool = SlotPool(limits=stage.limits, lanes=len(stage.topics))
        self.metrics.observe(in_flight=lambda: self._pool.in_use, lag=self._lag)
        self._is_running = False

    async def run(self) -> None:
        """Work until ``stopping`` is set and open records are finished.

        Raises:
            MustStop: The process may not go on and must not write any more.
        """
        async with AsyncExitStack() as stack:
            ticker = asyncio.create_task(self._tick())
            stack.push_async_callback(_cancel, ticker)
            producer = await connected_producer(self._log, stop=self.stopping)
            if producer is None:
                return
            outbox = Outbox(
                service=self._stage.service,
                producer=producer,
                clock=self._clock,
                fence=self._fence,
                on_fatal=self._give_up,
            )
            tools = Tools(self._clock, self.metrics.registry, self._log, outbox)
            process = await stack.enter_async_context(self._stage.build(tools))
            await self._make_loops(outbox, process)
            for loop in self._loops:
                await until_available(loop.start, stop=self.stopping)
                self._fence.watch(loop.consumer.membership)
            self._is_running = not self.stopping.is_set()
            gc.freeze()
            await self._until_stopped(ticker)
            self._is_running = False
            for loop in self._loops:
                if not await loop.drain(timeout_s=self._stage.drain_s):
                    _LOG.warning("leaving records in work", extra={"open": loop.open_count})
                await loop.stop()
            await producer.stop()

    @property
    def is_alive(self) -> bool:
        """Whether the event loop still turns."""
        return self._fence.silence_s < _STUCK_S

    @property
    def is_ready(self) -> bool:
        """Whether it works: it has joined its groups and the coordinator says so."""
        if not self._is_running:
            return False
        now_s = self._clock.monotonic_s()
        return all(
            now_s - loop.consumer.membership.confirmed_at_s < _UNCONFIRMED_S
            for loop in self._loops
        )

    async def _make_loops(self, outbox: Outbox, process: Process[Any]) -> None:
        is_cautious = self._slot is not None and self._slot.is_crash_loop
        service = self._stage.service
        crashes = await read_suspects(self._log, service=service) if is_cautious else {}
        suspects = Suspects(service=service, outbox=outbox, crashes=crashes)
        for source in sources_of(self._stage):
            instance = self._slot and f"{self._slot.name}-p{source.lane}"
            consumer = self._log.consumer(
                topic=source.topic, group=source.group, instance_id=instance
            )
            self._loops.append(
                ConsumerLoop(
                    source=source,
                    consumer=consumer,
                    process=process,
                    outbox=outbox,
                    pool=self._pool,
                    suspects=suspects,
                    is_cautious=is_cautious,
                    metrics=self.metrics,
                )
            )

    async def _until_stopped(self, ticker: "asyncio.Task[None]") -> None:
        tasks = [asyncio.create_task(loop.run(self.stopping)) for loop in self._loops]
        try:
            waiting: set[asyncio.Future[None]] = {*tasks, ticker, self._fatal}
            while not all(task.done() for task in tasks):
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            for task in tasks:
                await _cancel(task)

    async def _tick(self) -> None:
        while True:
            self._fence.tick()
            await asyncio.sleep(_TICK_S)

    def _give_up(self, why: MustStop) -> None:
        if not self._fatal.done():
            self._fatal.set_exception(why)

    def _lag(self) -> Mapping[tuple[str, str], float]:
        return {
            (partition.topic, str(partition.partition)): float(lag)
            for loop in self._loops
            for partition, lag in loop.consumer.lag().items()
        }


async def _cancel(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, MustStop):
        await task


def run_stage(stage: Stage, settings: ServiceSettings, *, clock: Clock) -> None:
    """Run a stage as this process; returns by ``sys.exit``."""
    set_up_logging(service=stage.service, level=settings.log_level)
    try:
        uvloop.run(_main(stage, settings, clock))
    except InvalidConfiguration as error:
        _LOG.error("%s", error)
        sys.exit(EXIT_CONFIGURATION)
    sys.exit(0)


async def _main(stage: Stage, settings: ServiceSettings, clock: Clock) -> None:
    slot = None
    if settings.data:
        slot = Slot.hold(
            data=Path(settings.data),
            service=stage.service,
            ordinal=settings.slot,
            now_ms=clock.now_ms(),
        )
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
    try:
        await runtime.run()
    except MustStop as error:
        _LOG.critical("stopping without another write: %s", error)
        logging.shutdown()
        os._exit(EXIT_MUST_STOP)
    if slot is not None:
        slot.release()
