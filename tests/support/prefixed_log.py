"""A log whose topics and groups have a prefix that its user does not see.

So every test has a cluster of its own, with the pipeline's real topic names, on one shared broker.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import RecordMetadata

from services.shared.stream.client import (
    Consumer,
    Membership,
    OnAssigned,
    OnPartitions,
    Polled,
    Producer,
    Raw,
    Reader,
    TopicPartition,
)
from services.shared.stream.kafka_consumer import KafkaConsumer
from services.shared.stream.kafka_log import KafkaLog
from services.shared.stream.kafka_producer import KafkaProducer


class Prefix:
    """Adds and takes away a prefix."""

    def __init__(self, prefix: str) -> None:
        """Use this prefix."""
        self._prefix = prefix

    def add(self, name: str) -> str:
        """The name that the broker sees."""
        return self._prefix + name

    def outside(self, where: TopicPartition) -> TopicPartition:
        """The partition that the broker sees."""
        return TopicPartition(self._prefix + where.topic, where.partition)

    def inside(self, where: TopicPartition) -> TopicPartition:
        """The partition that the test sees."""
        return TopicPartition(where.topic.removeprefix(self._prefix), where.partition)

    def polled(self, polled: Polled) -> Polled:
        """What the test sees of a poll."""
        return {
            self.inside(where): [self._record(raw) for raw in raws]
            for where, raws in polled.items()
        }

    def _record(self, raw: Raw) -> Raw:
        raw.topic = raw.topic.removeprefix(self._prefix)
        return raw


class PrefixedLog:
    """A ``Log`` over ``KafkaLog``; ``kill`` ends its clients as SIGKILL does."""

    def __init__(self, log: KafkaLog, prefix: Prefix) -> None:
        """Wrap a log."""
        self._log = log
        self._prefix = prefix
        self._consumers: list[AIOKafkaConsumer] = []
        self._producers: list[KafkaProducer] = []

    def consumer(self, *, topic: str, group: str, instance_id: str | None) -> "PrefixedConsumer":
        """A consumer of one topic in a group."""
        add = self._prefix.add
        consumer = self._log.consumer(
            topic=add(topic),
            group=add(group),
            instance_id=None if instance_id is None else add(instance_id),
        )
        return PrefixedConsumer(consumer, self._prefix, started=self._consumers)

    def producer(self) -> Producer:
        """A producer."""
        producer = self._log.producer()
        self._producers.append(producer)
        return _PrefixedProducer(producer, self._prefix)

    def reader(self) -> Reader:
        """A reader without a group."""
        return _PrefixedReader(self._log.reader(), self._prefix)

    def kill(self) -> None:
        """Stop everything that clients do by themselves: no goodbye, no heartbeat, no write."""
        for client in self._clients():
            client._closed = True
            if isinstance(client, AIOKafkaProducer):
                if client._sender.sender_task is not None:
                    client._sender.sender_task.cancel()
            elif (coordinator := client._coordinator) is not None:
                coordinator._coordination_task.cancel()
                if coordinator._heartbeat_task is not None:
                    coordinator._heartbeat_task.cancel()

    def cut(self) -> None:
        """Close the connections of clients that were killed."""
        for client in self._clients():
            connections = client.client if isinstance(client, AIOKafkaProducer) else client._client
            for connection in list(connections._conns.values()):
                connection.close()

    def _clients(self) -> list[AIOKafkaProducer | AIOKafkaConsumer]:
        return [*self._consumers, *(producer._producer for producer in self._producers)]


class PrefixedConsumer:
    """A ``Consumer``."""

    def __init__(
        self, consumer: KafkaConsumer, prefix: Prefix, *, started: list[AIOKafkaConsumer]
    ) -> None:
        """Wrap a consumer; note in ``started`` what was started."""
        self.kafka = consumer
        self._prefix = prefix
        self._started = started

    @property
    def membership(self) -> Membership:
        """Its standing in the group."""
        return self.kafka.membership

    async def start(
        self, *, on_assigned: OnAssigned, on_revoked: OnPartitions, on_reset: OnPartitions
    ) -> None:
        """Join the group."""
        inside = self._prefix.inside

        async def assigned(positions: Mapping[TopicPartition, int]) -> None:
            await on_assigned({inside(where): offset for where, offset in positions.items()})

        async def revoked(partitions: frozenset[TopicPartition]) -> None:
            await on_revoked(frozenset(map(inside, partitions)))

        async def reset(partitions: frozenset[TopicPartition]) -> None:
            await on_reset(frozenset(map(inside, partitions)))

        try:
            await self.kafka.start(on_assigned=assigned, on_revoked=revoked, on_reset=reset)
        finally:
            if self.kafka._started is not None:
                self._started.append(self.kafka._started)

    async def poll(self, *, timeout_s: float, max_records: int) -> Polled:
        """Wait for records."""
        polled = await self.kafka.poll(timeout_s=timeout_s, max_records=max_records)
        return self._prefix.polled(polled)

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Stop handing out records of these partitions."""
        self.kafka.pause(map(self._prefix.outside, partitions))

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Hand out records of these partitions again."""
        self.kafka.resume(map(self._prefix.outside, partitions))

    def assignment(self) -> frozenset[TopicPartition]:
        """Partitions this member owns now."""
        return frozenset(map(self._prefix.inside, self.kafka.assignment()))

    def position(self, partition: TopicPartition) -> int:
        """Offset of the next record it will hand out."""
        return self.kafka.position(self._prefix.outside(partition))

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit positions."""
        outside = self._prefix.outside
        await self.kafka.commit({outside(where): offset for where, offset in offsets.items()})

    async def backlog(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        """End offsets of those partitions that hold uncommitted records."""
        found = await self.kafka.backlog(map(self._prefix.outside, partitions))
        return {self._prefix.inside(where): end for where, end in found.items()}

    def lag(self) -> Mapping[TopicPartition, int]:
        """Records not yet handed out."""
        return {self._prefix.inside(where): lag for where, lag in self.kafka.lag().items()}

    async def leave(self) -> None:
        """Leave for good."""
        await self.kafka.leave()

    async def stop(self) -> None:
        """Leave."""
        await self.kafka.stop()


class _PrefixedReader:
    def __init__(self, reader: Reader, prefix: Prefix) -> None:
        self._reader = reader
        self._prefix = prefix

    async def start(self, partitions: Iterable[TopicPartition]) -> None:
        await self._reader.start(map(self._prefix.outside, partitions))

    async def seek_to_time(self, partition: TopicPartition, at_ms: int) -> None:
        await self._reader.seek_to_time(self._prefix.outside(partition), at_ms)

    async def seek(self, partition: TopicPartition, offset: int) -> None:
        """See ``Reader``."""
        await self._reader.seek(self._prefix.outside(partition), offset)

    async def end_offsets(self) -> Mapping[TopicPartition, int]:
        ends = await self._reader.end_offsets()
        return {self._prefix.inside(where): end for where, end in ends.items()}

    async def position(self, partition: TopicPartition) -> int:
        return await self._reader.position(self._prefix.outside(partition))

    async def poll(self, *, timeout_s: float, max_records: int) -> Polled:
        polled = await self._reader.poll(timeout_s=timeout_s, max_records=max_records)
        return self._prefix.polled(polled)

    async def stop(self) -> None:
        await self._reader.stop()


class _PrefixedProducer:
    def __init__(self, producer: KafkaProducer, prefix: Prefix) -> None:
        self._producer = producer
        self._prefix = prefix

    async def start(self) -> None:
        await self._producer.start()

    def partition_count(self, topic: str) -> int:
        return self._producer.partition_count(self._prefix.add(topic))

    async def send(
        self,
        topic: str,
        *,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]],
    ) -> "asyncio.Future[RecordMetadata]":
        return await self._producer.send(
            self._prefix.add(topic), partition=partition, key=key, value=value, headers=headers
        )

    async def stop(self) -> None:
        await self._producer.stop()


def kafka_consumer_of(consumer: Consumer) -> KafkaConsumer:
    """The consumer under a prefixed one."""
    assert isinstance(consumer, PrefixedConsumer)
    return consumer.kafka
