"""A cluster in memory that behaves as Kafka does towards the runtime, on fake time.

``MemoryCluster`` is the broker: partitions with offsets, transactions that leave holes, groups that
rebalance eagerly, static members, sessions that time out. ``MemoryLog`` is one process' connection
to it and fulfils ``services.shared.stream.client.Log``; ``kill`` ends that process as SIGKILL does.
The suite in ``tests/contract/stream`` holds it to the real broker's behaviour.

    cluster = MemoryCluster(clock, topics={"t": 2})
    offset = cluster.append("t", partition=1, key=b"k", value=b"v")
    log = cluster.log()                      # give this to the code under test
    cluster.stop_broker(); ...; cluster.start_broker()
"""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any

from aiokafka.structs import ConsumerRecord, TopicPartition

from services.shared.stream.client import Raw
from tests.support.fake_clock import FakeClock
from tests.support.memory_clients import MemoryConsumer, MemoryProducer, MemoryReader
from tests.support.memory_group import MemoryGroup
from tests.support.memory_partition import Headers, MemoryPartition


class MemoryTransaction:
    """A transactional producer's records in one partition; nobody reads them before ``commit``."""

    def __init__(self, cluster: "MemoryCluster", partition: TopicPartition) -> None:
        """Begin."""
        self._cluster = cluster
        self._where = partition
        self._log = cluster.partition(partition)
        self._offsets: list[int] = []

    def append(self, value: bytes, *, key: bytes | None = None, headers: Headers = ()) -> int:
        """Write a record; returns its offset."""
        topic, partition = self._where
        self._log.open_transactions.append(self._log.end)
        offset = self._cluster.append(
            topic, partition=partition, key=key, value=value, headers=headers
        )
        self._offsets.append(offset)
        return offset

    def commit(self) -> None:
        """End it; its records may be read."""
        self._end()

    def abort(self) -> None:
        """End it; its records are holes."""
        for offset in self._offsets:
            self._log.entries[offset] = None
        self._end()

    def _end(self) -> None:
        for offset in self._offsets:
            self._log.open_transactions.remove(offset)
        self._log.entries.append(None)  # the marker takes an offset, too
        self._cluster.wake()


class MemoryCluster:
    """A broker.

    Attributes:
        clock: The time.
        topics: Partitions by topic.
        session_timeout_s: Silence after which a group gives a member's partitions away.
        ack_delay_s: Time from a record's arrival to its acknowledgement.
        is_available: Whether the broker answers.
        is_coordinator_silent: Whether groups answer nobody, while records come and go.
        acks_to_fail: Acknowledgements that will fail though the record was written.
        unwritable: Topics that take no records, as when a disk is full or a right is missing.
        unreadable: Topics whose records no reader gets, as while its connection is not back.
    """

    def __init__(
        self, clock: FakeClock, *, topics: Mapping[str, int], session_timeout_s: float = 10.0
    ) -> None:
        """Start with empty topics."""
        self.clock = clock
        self.session_timeout_s = session_timeout_s
        self.ack_delay_s = 0.0
        self.is_available = True
        self.is_coordinator_silent = False
        self.acks_to_fail = 0
        self.unwritable: set[str] = set()
        self.unreadable: set[str] = set()
        self.topics: dict[str, int] = {}
        self._partitions: dict[TopicPartition, MemoryPartition] = {}
        for topic, count in topics.items():
            self.make_topic(topic, partitions=count)
        self._groups: dict[str, MemoryGroup] = {}
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._sequence: list[Raw] = []

    # -- what a test does to it ------------------------------------------------------------------

    def make_topic(self, topic: str, *, partitions: int) -> None:
        """Make a topic, or make it anew, empty."""
        self.topics[topic] = partitions
        for where in self.partitions_of(topic):
            self._partitions.setdefault(where, MemoryPartition()).clear()

    def log(self) -> "MemoryLog":
        """The connection of one more process."""
        return MemoryLog(self)

    def append(
        self,
        topic: str,
        *,
        partition: int = 0,
        key: bytes | None = None,
        value: bytes | None = None,
        headers: Headers = (),
        timestamp_ms: int | None = None,
    ) -> int:
        """Write a record as any producer might; returns its offset."""
        log = self._partitions[TopicPartition(topic, partition)]
        raw: Raw = ConsumerRecord(
            topic=topic,
            partition=partition,
            offset=log.end,
            timestamp=int(self.clock.now_ms()) if timestamp_ms is None else timestamp_ms,
            timestamp_type=0,
            key=key,
            value=value,
            checksum=None,
            serialized_key_size=-1 if key is None else len(key),
            serialized_value_size=-1 if value is None else len(value),
            headers=tuple(headers),
        )
        log.entries.append(raw)
        self._sequence.append(raw)
        self.wake()
        return raw.offset

    def begin(self, topic: str, partition: int = 0) -> MemoryTransaction:
        """Begin a transaction in one partition."""
        return MemoryTransaction(self, TopicPartition(topic, partition))

    def truncate(self, topic: str, *, before: int, partition: int = 0) -> None:
        """Forget records, as retention does."""
        self._partitions[TopicPartition(topic, partition)].start = before

    def records(self, topic: str) -> list[Raw]:
        """All committed records of a topic, in the order in which they were written."""
        return [raw for raw in self._sequence if raw.topic == topic and self._is_readable(raw)]

    def committed(self, group: str, topic: str, partition: int = 0) -> int | None:
        """The offset that a group has committed."""
        return self.group(group).committed.get(TopicPartition(topic, partition))

    def stop_broker(self) -> None:
        """Answer nobody; what was written stays."""
        self.is_available = False

    def start_broker(self) -> None:
        """Answer again; every session starts anew."""
        self.is_available = True
        for group in self._groups.values():
            group.renew_sessions()
        self.wake()

    # -- what clients do with it -----------------------------------------------------------------

    def partition(self, where: TopicPartition) -> MemoryPartition:
        """The log of a partition."""
        return self._partitions[where]

    def partitions_of(self, topic: str) -> list[TopicPartition]:
        """The partitions of a topic."""
        return [TopicPartition(topic, i) for i in range(self.topics[topic])]

    def group(self, name: str) -> MemoryGroup:
        """A consumer group."""
        if name not in self._groups:
            self._groups[name] = MemoryGroup(self)
        return self._groups[name]

    def wake(self) -> None:
        """Tell everybody who waits that something happened."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def changed(self) -> None:
        """Wait until something happens."""
        await self._changed.wait()

    def start_task(self, coroutine: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run something of the broker's own."""
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def offset_at(self, where: TopicPartition, at_ms: int) -> int:
        """The first offset with this timestamp or a later one, or the end."""
        log = self._partitions[where]
        for offset in range(log.start, log.stable_end):
            raw = log.entries[offset]
            if raw is not None and raw.timestamp >= at_ms:
                return offset
        return log.stable_end

    def _is_readable(self, raw: Raw) -> bool:
        log = self._partitions[TopicPartition(raw.topic, raw.partition)]
        return raw.offset < log.stable_end and log.entries[raw.offset] is raw


class MemoryLog:
    """One process' connection to the cluster; a ``Log``."""

    def __init__(self, cluster: MemoryCluster) -> None:
        """Connect."""
        self.cluster = cluster
        self._clients: list[MemoryConsumer | MemoryProducer] = []

    def consumer(self, *, topic: str, group: str, instance_id: str | None) -> MemoryConsumer:
        """A consumer of one topic in a group."""
        consumer = MemoryConsumer(
            self.cluster, topic=topic, group=self.cluster.group(group), instance_id=instance_id
        )
        self._clients.append(consumer)
        return consumer

    def producer(self) -> MemoryProducer:
        """A producer."""
        producer = MemoryProducer(self.cluster)
        self._clients.append(producer)
        return producer

    def reader(self) -> MemoryReader:
        """A reader without a group."""
        return MemoryReader(self.cluster)

    def kill(self) -> None:
        """End the process without a word: no heartbeat, no commit, no write from now on."""
        for client in self._clients:
            client.die()
