"""The schema log on a Kafka topic: one partition, compacted."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code
from aiokafka.structs import TopicPartition

from services.shared.domain.errors import InvalidConfiguration, Unavailable
from services.shared.ports.schema_log import LoggedRecord
from services.shared.stream.kafka_connection import KafkaConnection

_FETCH_WAIT_MS: Final = 50  # only while it reads: in between it is paused and asks for nothing
_ANSWER_S: Final = 5.0
_BROKER_DEFAULT: Final = -1
_MAX_RECORD_BYTES: Final = 2 * 1024 * 1024  # a schema of 1 MiB, and what is around it


class KafkaSchemaLog:
    """A ``SchemaLog``; it keeps connections, and its place in the topic."""

    def __init__(self, connection: KafkaConnection, *, topic: str) -> None:
        """Prepare; ``start`` connects."""
        self._connection = connection
        self._partition = TopicPartition(topic, 0)
        self._producer: AIOKafkaProducer | None = None
        self._consumer: AIOKafkaConsumer | None = None
        self._position = 0

    async def start(self) -> None:
        """Connect; make the topic if there is none."""
        try:
            await self._prepare_topic()
            self._producer = AIOKafkaProducer(
                **self._connection.options(),
                acks="all",
                enable_idempotence=True,
                max_request_size=_MAX_RECORD_BYTES,
            )
            await self._producer.start()
            self._consumer = AIOKafkaConsumer(
                **self._connection.options(),
                group_id=None,
                enable_auto_commit=False,
                isolation_level="read_committed",
                fetch_max_wait_ms=_FETCH_WAIT_MS,
            )
            await self._consumer.start()
            self._consumer.assign([self._partition])
            self._consumer.seek(self._partition, self._position)
        except KafkaError as error:
            await self.stop()
            raise Unavailable("kafka", repr(error)) from error

    async def append(self, record: LoggedRecord) -> None:
        """Append a record and wait for all in-sync replicas."""
        try:
            async with asyncio.timeout(_ANSWER_S):
                await _started(self._producer).send_and_wait(
                    self._partition.topic, record.value, record.key, partition=0
                )
        except (KafkaError, TimeoutError) as error:
            raise Unavailable("kafka", repr(error)) from error

    async def read_to_end(self) -> Sequence[LoggedRecord]:
        """Read up to what is the end of the topic now."""
        consumer = _started(self._consumer)
        records: list[LoggedRecord] = []
        try:
            async with asyncio.timeout(_ANSWER_S):
                consumer.resume(self._partition)
                end = (await consumer.end_offsets([self._partition]))[self._partition]
                while await consumer.position(self._partition) < end:
                    polled = await consumer.getmany(self._partition, timeout_ms=_FETCH_WAIT_MS)
                    records += [
                        LoggedRecord(record.key, record.value)
                        for record in polled.get(self._partition, ())
                        if record.key is not None
                    ]
        except (KafkaError, TimeoutError) as error:
            consumer.seek(self._partition, self._position)
            raise Unavailable("kafka", repr(error)) from error
        finally:
            consumer.pause(self._partition)
        self._position = end
        return records

    async def stop(self) -> None:
        """Disconnect."""
        if self._producer is not None:
            await self._producer.stop()
        if self._consumer is not None:
            await self._consumer.stop()
        self._producer = self._consumer = None

    async def _prepare_topic(self) -> None:
        admin = AIOKafkaAdminClient(**self._connection.options())
        try:
            await admin.start()
            await _make_topic(admin, self._partition.topic)
            policy = await _cleanup_policy(admin, self._partition.topic)
        finally:
            await admin.close()
        if policy != "compact":
            raise InvalidConfiguration(
                f"topic {self._partition.topic} has cleanup.policy={policy}: it would forget "
                "schemas. Set it to compact"
            )


async def _make_topic(admin: AIOKafkaAdminClient, topic: str) -> None:
    new = NewTopic(
        topic,
        num_partitions=1,
        replication_factor=1,
        topic_configs={
            "cleanup.policy": "compact",
            "max.message.bytes": str(_MAX_RECORD_BYTES),
        },
    )
    new.replication_factor = _BROKER_DEFAULT  # which the constructor does not take
    response: Any = await admin.create_topics([new])
    for _, code, *_ in response.topic_errors:
        error = for_code(code)
        if error not in (TopicAlreadyExistsError, for_code(0)):
            raise error(topic)


async def _cleanup_policy(admin: AIOKafkaAdminClient, topic: str) -> str:
    resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs={"cleanup.policy": ""})
    response: Any
    (response,) = await admin.describe_configs([resource])
    ((code, _, _, _, entries),) = response.resources
    if code:
        raise for_code(code)(topic)
    return str(entries[0][1])


def _started(client: Any) -> Any:
    if client is None:
        raise Unavailable("kafka", "not connected")
    return client
