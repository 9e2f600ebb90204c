"""A real broker as a cluster of a test's own, by prefixed names."""

import asyncio
import os
import signal
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar

import confluent_kafka
from aiokafka.protocol.group import LeaveGroupRequest
from confluent_kafka import ConsumerGroupTopicPartitions
from confluent_kafka.admin import AdminClient, NewTopic

from services.cli.local_stack.ports import free_port
from services.shared.adapters.system_clock import SystemClock
from services.shared.stream.client import Consumer, Raw, TopicPartition
from services.shared.stream.kafka_connection import KafkaConnection
from services.shared.stream.kafka_log import KafkaLog
from services.shared.stream.kafka_producer import KafkaProducer
from tests.support.kafka_broker import KafkaServer
from tests.support.log_backend import (
    SESSION_TIMEOUT_S,
    LogBackend,
    ProcessLog,
    Transaction,
)
from tests.support.memory_partition import Headers
from tests.support.prefixed_log import Prefix, PrefixedLog, kafka_consumer_of

T = TypeVar("T")
_ANSWER_S = 20.0
_POLL_S = 1.0
_CUT_S = 0.02
_MANY = 10_000
_CONFIG = {"max.message.bytes": str(8 * 1024 * 1024 + 64 * 1024), "retention.ms": "-1"}


@asynccontextmanager
async def kafka_backend(
    bootstrap: str,
    *,
    server: KafkaServer | None = None,
    session_timeout_s: float = SESSION_TIMEOUT_S,
) -> AsyncIterator["KafkaBackend"]:
    """A part of a broker for the length of a block; its topics go at the end."""
    backend = KafkaBackend(bootstrap, server, session_timeout_s)
    try:
        yield backend
    finally:
        await backend.close()


class KafkaBackend(LogBackend):
    """Part of a real cluster."""

    look_every_s = 0.05

    def __init__(
        self, bootstrap: str, server: KafkaServer | None, session_timeout_s: float
    ) -> None:
        """Use a running broker; ``server`` is there when it may be stopped."""
        self.clock = SystemClock()
        self.session_timeout_s = session_timeout_s
        self._server = server
        self._connection = KafkaConnection(
            bootstrap=bootstrap, session_timeout_s=self.session_timeout_s
        )
        self._name = f"test-{uuid.uuid4().hex[:12]}-"
        self._prefix = Prefix(self._name)
        self._admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
        self._topics: dict[str, int] = {}
        self._logs: list[PrefixedLog] = []
        self._producer: KafkaProducer | None = None

    async def make_topics(self, partitions: Mapping[str, int]) -> None:
        """Make topics."""
        counts = {self._prefix.add(topic): count for topic, count in partitions.items()}
        new = [
            NewTopic(name, num_partitions=count, replication_factor=1, config=_CONFIG)
            for name, count in counts.items()
        ]
        await _in_thread(lambda: [f.result() for f in self._admin.create_topics(new).values()])
        self._topics |= counts

    def connect(self) -> ProcessLog:
        """The connection of one more process."""
        log = PrefixedLog(KafkaLog(self._connection, topics=self._topics), self._prefix)
        self._logs.append(log)
        return log

    def connect_to_nobody(self) -> ProcessLog:
        """A connection to a port that nobody listens at."""
        connection = KafkaConnection(bootstrap=f"127.0.0.1:{free_port()}")
        return PrefixedLog(KafkaLog(connection, topics=self._topics), self._prefix)

    async def append(
        self,
        topic: str,
        value: bytes | None,
        *,
        partition: int = 0,
        key: bytes | None = None,
        headers: Headers = (),
        timestamp_ms: int | None = None,
    ) -> int:
        """Write a record."""
        if self._producer is None:
            self._producer = KafkaProducer(self._connection, topics=tuple(self._topics))
            await self._producer.start()
        metadata = await self._producer._producer.send_and_wait(
            self._prefix.add(topic),
            value,
            key,
            partition,
            timestamp_ms=timestamp_ms,
            headers=list(headers),
        )
        return int(metadata.offset)

    async def begin(self, topic: str, *, partition: int = 0) -> Transaction:
        """Begin a transaction."""
        producer = confluent_kafka.Producer(
            {
                "bootstrap.servers": self._connection.bootstrap,
                "transactional.id": f"{self._name}{uuid.uuid4().hex}",
                "log_level": 0,
            }
        )
        await _in_thread(lambda: producer.init_transactions(_ANSWER_S))
        producer.begin_transaction()
        return _Begun(producer, self._prefix.add(topic), partition)

    async def truncate(self, topic: str, *, before: int, partition: int = 0) -> None:
        """Forget records."""
        where = confluent_kafka.TopicPartition(self._prefix.add(topic), partition, before)
        futures = self._admin.delete_records([where])
        await _in_thread(lambda: [future.result() for future in futures.values()])

    async def records(self, topic: str) -> list[Raw]:
        """All committed records of a topic."""
        reader = PrefixedLog(KafkaLog(self._connection, topics=()), self._prefix).reader()
        count = self._topics[self._prefix.add(topic)]
        partitions = [TopicPartition(topic, i) for i in range(count)]
        found: list[Raw] = []
        await reader.start(partitions)
        try:
            ends = await reader.end_offsets()
            for where in partitions:
                await reader.seek_to_time(where, 0)
            while not all([await reader.position(p) >= ends[p] for p in partitions]):
                polled = await reader.poll(timeout_s=_POLL_S, max_records=_MANY)
                found += [raw for raws in polled.values() for raw in raws]
        finally:
            await reader.stop()
        return sorted(found, key=lambda raw: (raw.partition, raw.offset))

    async def committed(self, group: str, topic: str, *, partition: int = 0) -> int | None:
        """The offset that a group has committed."""
        name = self._prefix.add(group)
        where = confluent_kafka.TopicPartition(self._prefix.add(topic), partition)
        asked = ConsumerGroupTopicPartitions(name, [where])
        future = self._admin.list_consumer_group_offsets([asked])[name]
        answer = await _in_thread(lambda: future.result().topic_partitions[0].offset)
        return None if answer < 0 else answer

    async def forget_member(self, consumer: Consumer) -> None:
        """Make the group's coordinator forget a member, by leaving in its name."""
        client = kafka_consumer_of(consumer)._consumer
        coordinator = client._coordinator
        assert coordinator is not None
        request = LeaveGroupRequest(coordinator.group_id, coordinator.member_id)
        await client._client.send(coordinator.coordinator_id, request)

    @asynccontextmanager
    async def refusing(self, topic: str) -> AsyncIterator[None]:
        """A topic is not there for the length of a block; then it is empty."""
        name = self._prefix.add(topic)
        count = self._topics.pop(name)
        await _in_thread(lambda: [f.result() for f in self._admin.delete_topics([name]).values()])
        await self.until(lambda: name not in self._admin.list_topics(timeout=_ANSWER_S).topics)
        try:
            yield
        finally:
            await self.make_topics({topic: count})

    @asynccontextmanager
    async def restart(self) -> AsyncIterator[None]:
        """The broker is killed, and started again at the end of the block."""
        assert self._server is not None, "this broker is not ours to stop"
        self._server.kill()
        try:
            yield
        finally:
            await _in_thread(self._server.start)

    @asynccontextmanager
    async def outage(self) -> AsyncIterator[None]:
        """The broker's process stands still: connections stay, nobody answers."""
        assert self._server is not None, "this broker is not ours to stop"
        os.kill(self._server.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._server.pid, signal.SIGCONT)

    async def close(self) -> None:
        """Cut what is still connected and remove the topics."""
        if self._producer is not None:
            await self._producer.stop()
        for log in self._logs:
            log.kill()
        await _end_other_tasks()
        for log in self._logs:
            log.cut()
        await asyncio.sleep(_CUT_S)
        if self._topics:
            futures = self._admin.delete_topics(list(self._topics))
            await _in_thread(lambda: [future.result() for future in futures.values()])


class _Begun:
    """A transaction of a confluent producer, the other implementation."""

    def __init__(self, producer: confluent_kafka.Producer, topic: str, partition: int) -> None:
        self._producer = producer
        self._topic = topic
        self._partition = partition

    async def append(self, value: bytes) -> None:
        self._producer.produce(self._topic, value, partition=self._partition)
        await _in_thread(lambda: self._producer.flush(_ANSWER_S))

    async def commit(self) -> None:
        await _in_thread(lambda: self._producer.commit_transaction(_ANSWER_S))

    async def abort(self) -> None:
        await _in_thread(lambda: self._producer.abort_transaction(_ANSWER_S))


async def _end_other_tasks() -> None:
    """Cancel what clients left behind, again and again: some of it swallows a cancellation."""
    for _ in range(100):
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if not left:
            return
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=0.05)
    raise AssertionError(f"tasks that do not end: {asyncio.all_tasks()}")


async def _in_thread(call: Callable[[], T]) -> T:
    return await asyncio.to_thread(call)
