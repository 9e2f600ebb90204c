"""Faust's way to Kafka, with the project's own clients: their security, and what they promise.

Faust would read uncommitted records, write without idempotence, and go on from the offsets that
its group committed; the table knows better (``services.shared.ports.folding``).
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from faust.transport.consumer import RecordMap
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from services.shared.stream.client import MAX_RECORD_BYTES
from services.shared.stream.kafka_connection import KafkaConnection
from services.shared.stream.kafka_consumer import WatchedMembership

_FETCH_WAIT_MS = 1_000
_FETCH_MIN_BYTES = 512 * 1024
_FETCH_MAX_BYTES = 4 * 1024 * 1024
"""Nobody waits for a table: a poll that brings many records costs hardly more than one of one."""

_HEARTBEATS_A_SESSION = 4
_NEVER_IDLE_MS = 24 * 3600 * 1000

_REMEMBERED_HOLES = 10_000

Positions = Callable[[], Mapping[TP, int]]
"""Says where each open partition of a source goes on."""


class Clients(msgspec.Struct, frozen=True, kw_only=True):
    """What the clients of one application are made with.

    Attributes:
        connection: Where Kafka is.
        instance_id: Static member of the group; None = a dynamic one.
        positions: Where partitions go on.
        membership: Is told of its standing in the group.
    """

    connection: KafkaConnection
    instance_id: str | None
    positions: Positions
    membership: WatchedMembership


class _Thread(driver.AIOKafkaConsumerThread):
    """The thread that Faust consumes on."""

    clients: Clients

    def _create_worker_consumer(self, _transport: object) -> AIOKafkaConsumer:
        clients, conf = self.clients, self.app.conf
        session_ms = int(clients.connection.session_timeout_s * 1000)
        self._assignor = self.app.assignor
        return AIOKafkaConsumer(
            **{
                **clients.connection.options(),
                **clients.connection.fetch_options(),
                "fetch_max_wait_ms": _FETCH_WAIT_MS,
                "fetch_min_bytes": _FETCH_MIN_BYTES,
                "fetch_max_bytes": _FETCH_MAX_BYTES,
                "max_partition_fetch_bytes": _FETCH_MAX_BYTES,
                "group_id": conf.id,
                "group_instance_id": clients.instance_id,
                "partition_assignment_strategy": [self._assignor],
                "auto_offset_reset": "earliest",
                "enable_auto_commit": False,
                "max_poll_records": conf.broker_max_poll_records,
                "max_poll_interval_ms": _NEVER_IDLE_MS,
                "session_timeout_ms": session_ms,
                "heartbeat_interval_ms": session_ms // _HEARTBEATS_A_SESSION,
            }
        )

    async def on_start(self) -> None:
        """Connect."""
        await super().on_start()
        self.clients.membership.watch(self._ensure_consumer()._coordinator)  # noqa: SLF001  # see there


class Holes:
    """Offsets that hold no record: transactions leave them, and retention.

    What comes out of the client is noted, so that whoever misses a record knows whether there is
    one.
    """

    def __init__(self) -> None:
        """Start with no partition."""
        self._expected: dict[TP, int] = {}
        self._holes: dict[TP, dict[int, int]] = {}

    def start(self, partition: TP, offset: int) -> None:
        """A partition goes on from an offset."""
        self._expected[partition] = offset
        self._holes.pop(partition, None)

    def note(self, partition: TP, offsets: Sequence[int]) -> None:
        """The client gave these, in order; partitions that were not started are passed over."""
        expected = self._expected.get(partition)
        if expected is None or not offsets:
            return
        after = self._expected[partition] = offsets[-1] + 1
        if expected + len(offsets) == after:
            return
        holes = self._holes.setdefault(partition, {})
        for offset in offsets:
            if offset != expected:
                holes[expected] = offset
            expected = offset + 1
        while len(holes) > _REMEMBERED_HOLES:
            del holes[next(iter(holes))]

    def is_next(self, partition: TP, expected: int, offset: int) -> bool:
        """Whether the log holds no record from an expected offset up to another one."""
        return self._holes.get(partition, {}).get(expected) == offset


class Consumer(driver.Consumer):
    """A member of the group that goes on where the table stands.

    Attributes:
        holes: What Kafka left out. Faust passes records over, too: those that it believes to have
            read, and some around rebalances.
    """

    clients: Clients

    def __init__(self, *args: Any, **options: Any) -> None:
        """Start with no partition."""
        super().__init__(*args, **options)
        self.holes = Holes()
        self._asked: dict[TP, int] = {}

    def ask_again(self, partition: TP, offset: int) -> None:
        """Go on from an offset with the next poll; what was polled before comes out first."""
        self._asked[partition] = offset

    async def seek(self, partition: TP, offset: int) -> None:
        """Go on from an offset."""
        self.holes.start(partition, offset)
        await super().seek(partition, offset)

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> RecordMap:  # noqa: ASYNC109  # Faust's name
        while self._asked:
            # Not earlier: Faust believes that it has read whatever was polled.
            await self.seek(*self._asked.popitem())
        polled = await super()._getmany(active_partitions, timeout)
        for partition, records in polled.items():
            self.holes.note(partition, [record.offset for record in records])
        return polled

    def _new_consumer_thread(self) -> _Thread:
        thread = _Thread(self, loop=self.loop, beacon=self.beacon)
        thread.clients = self.clients
        return thread

    async def wait_first(self, *coros: Any, **options: Any) -> Any:
        """Hand over a record, and let the stream take it.

        Faust makes two tasks a record and waits for the first: the record is taken, or the flow
        suspended. While it flows, the first never waits, as polls are smaller than the room that
        is left in the buffer when a partition is paused; awaiting it saves a third of Faust's
        time. And a full buffer would pause the only partition for a whole second.
        """
        if len(coros) == 2 and self.flow_active and self.app.flow_control.is_active():
            handed_over, suspended = coros
            suspended.close()
            await handed_over
            return await asyncio.sleep(0)
        return await super().wait_first(*coros, **options)

    async def perform_seek(self) -> None:
        """Stand where the table says; committed offsets only show others how far we are."""
        await super().perform_seek()
        for partition, offset in self.clients.positions().items():
            await self.seek(partition, offset)
            # Faust commits what follows without a gap on what is committed.
            self._committed_offset[partition] = offset or None


class Producer(driver.Producer):
    """Writes the changelog: idempotent, acknowledged by all in-sync replicas."""

    clients: Clients

    def _new_producer(self, transactional_id: str | None = None) -> AIOKafkaProducer:
        return AIOKafkaProducer(
            **self.clients.connection.options(),
            acks="all",
            enable_idempotence=True,
            linger_ms=0,
            max_request_size=MAX_RECORD_BYTES,
            transactional_id=transactional_id,
        )


def transport_type(clients: Clients) -> type[driver.Transport]:
    """A transport whose consumers and producers are made with these."""
    members: dict[str, Any] = {
        "Consumer": type("Consumer", (Consumer,), {"clients": clients}),
        "Producer": type("Producer", (Producer,), {"clients": clients}),
    }
    return type("Transport", (driver.Transport,), members)
