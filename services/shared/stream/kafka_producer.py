"""Writing records, by aiokafka."""

import asyncio
from collections.abc import Callable, Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, OutOfOrderSequenceNumber
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.structs import RecordMetadata

from services.shared.domain.errors import PoisonRecord, Unavailable
from services.shared.stream.client import (
    DEAD_LETTER_HEADROOM_BYTES,
    MAX_RECORD_BYTES,
    record_limit_bytes,
)
from services.shared.stream.kafka_closing import closed_soon
from services.shared.stream.kafka_connection import KafkaConnection

_BATCH_BYTES = 1024 * 1024
_SMALL_BYTES = 1024 * 1024


class KafkaProducer:
    """An idempotent producer, acknowledged by all in-sync replicas."""

    def __init__(
        self,
        connection: KafkaConnection,
        *,
        topics: Sequence[str],
        on_lost: Callable[[], None] | None = None,
    ) -> None:
        """Prepare; ``start`` connects.

        Args:
            connection: Of the process.
            topics: What it writes to.
            on_lost: Told when the log does not know what it acknowledged to this producer, as after
                a power loss. A partition that says so takes nothing more from it.
        """
        self._topics = topics
        self._on_lost = on_lost
        self._partitions: dict[str, int] = {}
        self._producer = AIOKafkaProducer(
            **connection.options(),
            acks="all",
            enable_idempotence=True,
            linger_ms=0,
            max_batch_size=_BATCH_BYTES,
            max_request_size=MAX_RECORD_BYTES + DEAD_LETTER_HEADROOM_BYTES,
        )

    async def start(self) -> None:
        """Connect and learn the partition counts."""
        try:
            await self._producer.start()
            await self._producer.client.set_topics(self._topics)  # all in one request
            for topic in self._topics:
                self._partitions[topic] = len(await self._producer.partitions_for(topic))
        except BaseException as error:
            await self.stop()
            if isinstance(error, KafkaError):
                raise Unavailable("kafka", repr(error)) from error
            raise

    def partition_count(self, topic: str) -> int:
        """Number of partitions of a topic, read at start."""
        return self._partitions[topic]

    async def send(
        self,
        topic: str,
        *,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]],
    ) -> "asyncio.Future[RecordMetadata]":
        """Hand over a record; the future resolves when it is acknowledged."""
        if len(value or b"") + sum(len(content) for _, content in headers) > _SMALL_BYTES:
            _check_size(topic, key, value, headers)
        try:
            future: asyncio.Future[RecordMetadata] = await self._producer.send(
                topic, value, key, partition, headers=list(headers)
            )
        except KafkaError as error:
            raise Unavailable("kafka", repr(error)) from error
        if self._on_lost is not None:
            future.add_done_callback(self._look_at)
        return future

    def _look_at(self, done: "asyncio.Future[RecordMetadata]") -> None:
        is_lost = not done.cancelled() and isinstance(done.exception(), OutOfOrderSequenceNumber)
        if is_lost and self._on_lost is not None:
            self._on_lost()

    async def stop(self) -> None:
        """Send what is buffered and disconnect."""
        await closed_soon(self._producer)


def _check_size(
    topic: str, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]]
) -> None:
    size_bytes = DefaultRecordBatchBuilder.estimate_size_in_bytes(key, value, list(headers))
    if size_bytes > record_limit_bytes(topic):
        raise PoisonRecord("oversize", f"{size_bytes} bytes for {topic}")
