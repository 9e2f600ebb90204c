"""Reading partitions without a group, by aiokafka."""

from collections.abc import Iterable, Mapping

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from services.shared.domain.errors import Unavailable
from services.shared.stream.client import Polled, TopicPartition
from services.shared.stream.kafka_closing import closed_soon
from services.shared.stream.kafka_connection import KafkaConnection


class KafkaReader:
    """Reads partitions with no group."""

    def __init__(self, connection: KafkaConnection) -> None:
        """Prepare; ``start`` connects."""
        self._consumer = AIOKafkaConsumer(
            **connection.options(),
            **connection.fetch_options(),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        self._is_seeking = False

    async def start(self, partitions: Iterable[TopicPartition]) -> None:
        """Connect and stand at the end of each partition."""
        try:
            await self._consumer.start()
            wanted = list(partitions)
            self._consumer.assign(wanted)
            # A broker answers a connection in order, and a fetch at the end waits for seconds of
            # silence: none may go out before the position is final.
            self._consumer.pause(*wanted)
            self._is_seeking = True
            for partition, end in (await self._consumer.end_offsets(wanted)).items():
                self._consumer.seek(partition, end)
        except KafkaError as error:
            raise Unavailable("kafka", repr(error)) from error

    async def seek_to_time(self, partition: TopicPartition, at_ms: int) -> None:
        """Stand at the first record of this time or later, or at the end."""
        try:
            found = (await self._consumer.offsets_for_times({partition: at_ms}))[partition]
            if found is None:
                offset = (await self._consumer.end_offsets([partition]))[partition]
            else:
                offset = found.offset
        except KafkaError as error:
            raise Unavailable("kafka", repr(error)) from error
        self._consumer.seek(partition, offset)

    async def seek(self, partition: TopicPartition, offset: int) -> None:
        """Stand at an offset."""
        self._consumer.seek(partition, offset)

    async def end_offsets(self) -> Mapping[TopicPartition, int]:
        """End of each partition."""
        try:
            ends: dict[TopicPartition, int] = await self._consumer.end_offsets(
                list(self._consumer.assignment())
            )
        except KafkaError as error:
            raise Unavailable("kafka", repr(error)) from error
        return ends

    async def position(self, partition: TopicPartition) -> int:
        """Offset of the next record it will hand out."""
        try:
            return int(await self._consumer.position(partition))
        except KafkaError as error:
            raise Unavailable("kafka", repr(error)) from error

    async def poll(self, *, timeout_s: float, max_records: int) -> Polled:
        """Wait for records."""
        if self._is_seeking:
            self._consumer.resume(*self._consumer.assignment())
            self._is_seeking = False
        try:
            polled: Polled = await self._consumer.getmany(
                timeout_ms=int(timeout_s * 1000), max_records=max_records
            )
        except KafkaError as error:
            raise Unavailable("kafka", repr(error)) from error
        return polled

    async def stop(self) -> None:
        """Disconnect."""
        await closed_soon(self._consumer)
