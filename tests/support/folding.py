"""Folds topics of an in-memory log without Faust: delivers, recovers and dies as a test says.

``Folder.start`` is a process that recovers the table from its changelog; ``deliver`` hands over
what the log holds; ``kill`` ends it with whatever the changelog took until then.
"""

import asyncio
from collections.abc import Awaitable
from typing import Any, cast

from faust.events import Event as FaustEvent
from faust.types import TP, ConsumerMessage
from prometheus_client import CollectorRegistry

from services.shared.codec.records import RECORDS
from services.shared.codec.topics import packaged_topics
from services.shared.domain.errors import MustStop
from services.shared.ports.folding import Fold
from services.shared.stream.client import Raw
from services.shared.stream.connecting import connected_producer
from services.shared.stream.faust_app import BytesTable
from services.shared.stream.faust_folding import Folding, Reach
from services.shared.stream.outbox import Fence, Outbox
from services.shared.stream.source import Source
from services.shared.telemetry.metrics import StageMetrics
from tests.support.memory_log import MemoryCluster

Changelog = list[tuple[int, bytes, bytes | None]]


class MemoryTable:
    """A table whose changelog a test can read, delay and break.

    Attributes:
        changelog: Partition, key and value of what was acknowledged.
        delay_s: Time from a write to its acknowledgement.
        is_broken: Whether the changelog takes nothing any more.
    """

    def __init__(self, changelog: Changelog) -> None:
        """Recover from a changelog, and go on with it."""
        self.changelog = changelog
        self.delay_s = 0.0
        self.is_broken = False
        self._data: dict[bytes, bytes] = {}
        for _, key, value in changelog:
            if value is None:
                self._data.pop(key, None)
            else:
                self._data[key] = value

    def items(self) -> list[tuple[bytes, bytes]]:
        """All that it holds."""
        return list(self._data.items())

    def write(self, partition: int, key: bytes, value: bytes) -> Awaitable[Any]:
        """Set a key."""
        self._data[key] = value
        return self._append(partition, key, value)

    def remove(self, partition: int, key: bytes) -> Awaitable[Any]:
        """Remove a key."""
        self.forget(key)
        return self._append(partition, key, None)

    def forget(self, key: bytes) -> None:
        """Let go of a key."""
        self._data.pop(key, None)

    async def _append(self, partition: int, key: bytes, value: bytes | None) -> None:
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self.is_broken:
            raise ConnectionError("the changelog is away")
        self.changelog.append((partition, key, value))


class Folder:
    """One process that folds a topic.

    Attributes:
        folding: What it runs.
        table: Its table.
        fence: Whether it may write.
        sought: What it asked for again.
        metrics: What was measured.
        fatal: What ended it; None = nothing did.
    """

    def __init__(self, cluster: MemoryCluster, *, topic: str, group: str) -> None:
        """Prepare."""
        spec = packaged_topics()[topic]
        self.sought: list[tuple[TP, int]] = []
        self.metrics = StageMetrics(CollectorRegistry())
        self.fatal: Exception | None = None
        self._cluster = cluster
        self._topic = topic
        self._source = Source(
            topic=topic,
            event_type=RECORDS[spec.record],
            group=group,
            lane=0,
            is_public=spec.is_public,
            dlq=spec.dlq,
        )

    async def start(
        self, fold: Fold[Any], changelog: Changelog, *, partitions: frozenset[int]
    ) -> None:
        """Connect, recover the table, and take over partitions."""
        clock = self._cluster.clock
        self._log = self._cluster.log()
        producer = await connected_producer(self._log, stop=asyncio.Event())
        assert producer is not None
        self.fence = Fence(clock=clock, session_timeout_s=self._cluster.session_timeout_s)
        self.table = MemoryTable(changelog)
        outbox = Outbox(
            service=self._source.group,
            producer=producer,
            clock=clock,
            fence=self.fence,
            on_fatal=self._give_up,
        )
        reach = Reach(outbox, cast(BytesTable, self.table), self.fence, clock, self.metrics)
        self.folding: Folding[Any] = Folding(
            source=self._source, fold=fold, reach=reach, source_log=self
        )
        self.folding.open(partitions)
        self._tasks = [asyncio.create_task(self._run()), asyncio.create_task(self._tick())]

    async def deliver(self) -> None:
        """Hand over every record that the table knows nothing of, as Faust would."""
        positions = self.folding.positions()
        for raw in self._cluster.records(self._topic):
            if raw.offset >= positions.get(TP(raw.topic, raw.partition), 2**62):
                await self.hand_over(raw)

    async def hand_over(self, raw: Raw) -> None:
        """Hand over one record."""
        await self.folding.take(_event(raw))

    def is_next(self, partition: TP, expected: int, offset: int) -> bool:
        """Whether the log holds no record in between."""
        return not any(
            expected <= raw.offset < offset
            for raw in self._cluster.records(self._topic)
            if raw.partition == partition.partition
        )

    def ask_again(self, partition: TP, offset: int) -> None:
        """Note where it was asked to go on."""
        self.sought.append((partition, offset))

    async def kill(self) -> None:
        """End it: what is not acknowledged by now never will be."""
        self._log.kill()
        self.table.changelog = []  # what still comes leads nowhere
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self) -> None:
        try:
            await self.folding.run()
        except MustStop as error:
            self._give_up(error)

    async def _tick(self) -> None:
        while True:
            self.fence.tick()
            await asyncio.sleep(0.5)

    def _give_up(self, why: Exception) -> None:
        if self.fatal is None:
            self.fatal = why


def _event(raw: Raw) -> Any:
    message = ConsumerMessage(
        raw.topic,
        raw.partition,
        raw.offset,
        raw.timestamp / 1000.0,
        raw.timestamp_type,
        list(raw.headers),
        raw.key,
        raw.value,
        None,
        raw.serialized_key_size,
        raw.serialized_value_size,
        TP(raw.topic, raw.partition),
    )
    return FaustEvent(cast(Any, None), raw.key, raw.value, dict(raw.headers), message)
