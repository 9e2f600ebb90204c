"""How far the groups of other stages are behind, by Kafka's own offsets."""

import asyncio
from collections.abc import Mapping

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from services.shared.domain.errors import Unavailable
from services.shared.stream.client import Log, Reader, TopicPartition
from services.shared.stream.kafka_connection import KafkaConnection

_ANSWER_WITHIN_S = 2.0


class KafkaBacklog:
    """Committed offsets of groups against the ends of the topics that they read."""

    def __init__(
        self,
        connection: KafkaConnection,
        log: Log,
        *,
        groups: Mapping[str, str],
        partitions: Mapping[str, int],
    ) -> None:
        """Prepare; the first look connects.

        Args:
            connection: The cluster.
            log: The same cluster's log.
            groups: Consumer groups by the topic that they read.
            partitions: Partition counts of those topics.
        """
        self._groups = groups
        self._partitions = [
            TopicPartition(topic, number) for topic in groups for number in range(partitions[topic])
        ]
        self._admin = AIOKafkaAdminClient(**connection.options())
        self._reader: Reader = log.reader()
        self._is_connected = False

    async def records(self) -> int:
        """Records that the groups have not committed yet."""
        try:
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                if not self._is_connected:
                    await self._admin.start()
                    await self._reader.start(self._partitions)
                    self._is_connected = True
                ends = await self._reader.end_offsets()
                behind = 0
                for topic, group in self._groups.items():
                    committed = await self._admin.list_consumer_group_offsets(group)
                    behind += sum(
                        end - committed[partition].offset
                        for partition, end in ends.items()
                        if partition.topic == topic and partition in committed
                    )
        except (KafkaError, TimeoutError) as error:
            raise Unavailable("kafka", repr(error)) from error
        return behind

    async def stop(self) -> None:
        """Disconnect."""
        await self._admin.close()
        await self._reader.stop()
