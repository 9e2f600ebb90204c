"""Runs a service that folds one topic into a Faust table: its clients, its table, its end."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import msgspec
from faust.types import TP
from prometheus_client import CollectorRegistry

from services.shared.codec.records import RECORDS
from services.shared.codec.topics import packaged_topics
from services.shared.domain.errors import InvalidConfiguration, MustStop
from services.shared.domain.topics import Topic
from services.shared.ports.clock import Clock
from services.shared.ports.folding import Fold
from services.shared.stream.collector import settle_garbage_collector
from services.shared.stream.connecting import connected_producer, until_available
from services.shared.stream.faust_app import BytesTable, TableApp, consume
from services.shared.stream.faust_changelog import CHANGELOG_CONFIG, prepare_changelog
from services.shared.stream.faust_folding import Folding, Reach
from services.shared.stream.faust_stalls import Stalls
from services.shared.stream.faust_transport import Clients
from services.shared.stream.kafka_connection import KafkaConnection
from services.shared.stream.kafka_consumer import WatchedMembership
from services.shared.stream.kafka_log import KafkaLog
from services.shared.stream.outbox import Fence, Outbox
from services.shared.stream.service import written_topics
from services.shared.stream.source import Source
from services.shared.telemetry.metrics import StageMetrics

_LOG = logging.getLogger(__name__)
_TICK_S = 1.0
_STUCK_S = 5.0
_UNCONFIRMED_RATIO = 0.45  # of a session; heartbeats come four times in one
_LAST_ROUND_S = 3.0
_LEAVE_S = 4.0
_STALLED_S = 60.0

Build = Callable[[CollectorRegistry], Fold[Any]]


class FoldStage(msgspec.Struct, frozen=True, kw_only=True):
    """A service that folds one topic into a table.

    Attributes:
        service: Its name: consumer group, metrics, logs.
        topic: What it reads.
        table: Name of the table; the changelog is ``<service>-<table>-changelog``.
        build: Makes its processor.
    """

    service: str
    topic: Topic
    table: str
    build: Build

    @property
    def changelog(self) -> str:
        """Name of the changelog topic, as Faust makes it."""
        return f"{self.service}-{self.table}-changelog"


class FoldRuntime:
    """One such service over one Kafka.

    Attributes:
        stopping: Set it to end ``run``.
        metrics: What is measured.
    """

    def __init__(
        self,
        *,
        stage: FoldStage,
        connection: KafkaConnection,
        clock: Clock,
        instance_id: str | None,
    ) -> None:
        """Prepare; ``run`` does the rest.

        Args:
            stage: The service.
            connection: Where Kafka is.
            clock: The time.
            instance_id: Static member of the group; None = a dynamic one.
        """
        self.stopping = asyncio.Event()
        self.metrics = StageMetrics(CollectorRegistry())
        self._stage = stage
        self._connection = connection
        self._clock = clock
        self._fence = Fence(clock=clock, session_timeout_s=connection.session_timeout_s)
        self._fatal: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._membership = WatchedMembership()
        self._instance_id = instance_id
        self._app: TableApp | None = None
        self._folding: Folding[Any] | None = None
        self._is_recovered = False
        self.metrics.observe(in_flight=int, lag=self._lag)

    async def run(self) -> None:
        """Fold until ``stopping`` is set, and make durable what was folded.

        Raises:
            MustStop: The process may not go on and must not write any more.
            InvalidConfiguration: The table does not belong to the topic.
        """
        async with AsyncExitStack() as stack:
            ticker = asyncio.create_task(self._tick())
            stack.push_async_callback(_cancel, ticker)
            outbox = await self._connect(stack)
            partitions = await until_available(
                partial(
                    prepare_changelog,
                    self._connection,
                    source=self._stage.topic,
                    changelog=self._stage.changelog,
                ),
                stop=self.stopping,
            )
            if outbox is None or partitions is None:
                return
            app, folding = self._make(outbox, partitions)
            try:
                await self._until_stopped(ticker, app, folding)
                await self._end(app, folding)
            finally:
                self._is_recovered = False

    @property
    def is_alive(self) -> bool:
        """Whether the event loop still turns."""
        return self._fence.silence_s < _STUCK_S

    @property
    def is_ready(self) -> bool:
        """Whether it works: table recovered, a member as the coordinator says, and not stuck."""
        silent_s = self._clock.monotonic_s() - self._membership.confirmed_at_s
        is_stuck = self._folding is not None and self._folding.is_stuck
        return (
            self._is_recovered
            and not is_stuck
            and silent_s < self._connection.session_timeout_s * _UNCONFIRMED_RATIO
        )

    # -- starting --------------------------------------------------------------------------------

    async def _connect(self, stack: AsyncExitStack) -> Outbox | None:
        log = KafkaLog(self._connection, topics=written_topics(packaged_topics()))
        producer = await connected_producer(log, stop=self.stopping)
        if producer is None:
            return None
        stack.push_async_callback(producer.stop)
        stack.callback(self._fence.shut, MustStop("the process is ending"))
        return Outbox(
            service=self._stage.service,
            producer=producer,
            clock=self._clock,
            fence=self._fence,
            on_fatal=self._give_up,
        )

    def _make(self, outbox: Outbox, partitions: int) -> tuple[TableApp, Folding[Any]]:
        stage = self._stage
        clients = Clients(
            connection=self._connection,
            # A static member is given what it had, so one that finds more partitions is another.
            instance_id=self._instance_id and f"{self._instance_id}-of-{partitions}",
            positions=self._positions,
            membership=self._membership,
        )
        app = self._app = TableApp(stage.service, clients=clients, partitions=partitions)

        async def recovered() -> None:
            await self._recovered(app, folding)

        async def revoked(*_: Any, **__: Any) -> None:
            await self._revoked(folding)

        table = BytesTable(
            app,
            name=stage.table,
            partitions=partitions,
            config=CHANGELOG_CONFIG,
            on_recover=recovered,
        )
        folding = self._folding = Folding(
            source=_source_of(stage),
            fold=stage.build(self.metrics.registry),
            reach=Reach(outbox, table, self._fence, self._clock, self.metrics),
            source_log=app,
        )
        consume(app, stage.topic, folding.take)
        app.on_partitions_revoked.connect(revoked)
        self._fence.watch(self._membership)
        return app, folding

    # -- rebalances ------------------------------------------------------------------------------

    async def _recovered(self, app: TableApp, folding: Folding[Any]) -> None:
        """Faust has read the changelog: fold on from there."""
        try:
            owned = [tp for tp in app.consumer.assignment() if tp.topic == self._stage.topic]
            folding.open(frozenset(tp.partition for tp in owned))
            ends = await app.consumer.highwaters(*owned)
            for tp, position in folding.positions().items():
                if position > ends[tp]:
                    raise InvalidConfiguration(  # noqa: TRY301  # the one way out
                        f"{tp.topic} ends at offset {ends[tp]} of partition {tp.partition}, but "
                        f"{self._stage.changelog} counts up to {position}: the source was made "
                        "anew. Remove the changelog to count from the source's beginning"
                    )
        except Exception as error:  # noqa: BLE001  # Faust would not tell anybody
            self._give_up(
                error
                if isinstance(error, InvalidConfiguration)
                else MustStop(f"the table cannot be used: {error!r}")
            )
            return
        _LOG.info("folding", extra={"partitions": sorted(tp.partition for tp in owned)})
        settle_garbage_collector()
        self._is_recovered = True

    async def _revoked(self, folding: Folding[Any]) -> None:
        self._is_recovered = False
        try:
            async with asyncio.timeout(_LAST_ROUND_S):
                await folding.close()
        except (MustStop, TimeoutError) as error:
            self._give_up(MustStop(f"partitions are lost before they were written: {error!r}"))

    def _positions(self) -> Mapping[TP, int]:
        return {} if self._folding is None else self._folding.positions()

    # -- running and ending ----------------------------------------------------------------------

    async def _until_stopped(
        self, ticker: "asyncio.Task[None]", app: TableApp, folding: Folding[Any]
    ) -> None:
        tasks: list[asyncio.Future[Any]] = [
            asyncio.create_task(work)
            for work in (_serve(app), app.crash_told(), folding.run(), self.stopping.wait())
        ]
        try:
            watched: tuple[asyncio.Future[Any], ...] = (self._fatal, ticker, *tasks)
            await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            for future in watched:
                if future.done():
                    future.result()
        finally:
            for task in tasks:
                await _cancel(task)

    async def _end(self, app: TableApp, folding: Folding[Any]) -> None:
        """Write the last round and leave, in bounded time: a broker may be away."""
        try:
            async with asyncio.timeout(_LAST_ROUND_S):
                await folding.close()
        except TimeoutError:
            _LOG.warning("leaving records that will be folded again")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LEAVE_S):
                await app.stop()

    async def _tick(self) -> None:
        stalls = Stalls()
        while True:
            self._fence.tick()
            stalled_s = stalls.longest_s(
                self._positions(), self._lag(), now_s=self._clock.monotonic_s()
            )
            if stalled_s > _STALLED_S:
                raise MustStop(f"records wait, and none was delivered for {stalled_s:.0f} s")
            await asyncio.sleep(_TICK_S)

    def _give_up(self, why: Exception) -> None:
        if not self._fatal.done():
            self._fatal.set_exception(why)

    def _lag(self) -> Mapping[tuple[str, str], float]:
        if self._app is None or not self._is_recovered:
            return {}
        lags = {}
        for tp, position in self._positions().items():
            end = self._app.consumer.highwater(tp)
            if end is not None:
                lags[tp.topic, str(tp.partition)] = float(max(0, end - position))
        return lags


async def _serve(app: TableApp) -> None:
    """Start Faust; returns never, unless that fails."""
    await app.start()
    await asyncio.Event().wait()


def _source_of(stage: FoldStage) -> Source:
    spec = packaged_topics()[stage.topic]
    return Source(
        topic=stage.topic,
        event_type=RECORDS[spec.record],
        group=stage.service,
        lane=0,
        is_public=spec.is_public,
        dlq=spec.dlq,
    )


async def _cancel(task: "asyncio.Future[Any]") -> None:
    """Cancel a task and wait for it; what it raised was told before or comes too late."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
