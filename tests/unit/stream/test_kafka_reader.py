"""When a reader without a group asks a broker for records."""

from typing import Any

import pytest

from services.shared.stream import kafka_reader
from services.shared.stream.client import TopicPartition
from services.shared.stream.kafka_connection import KafkaConnection
from services.shared.stream.kafka_reader import KafkaReader

PLACE = TopicPartition("t", 0)


class Consumer:
    """Stands for aiokafka's, which fetches whenever a partition has a position and no pause."""

    def __init__(self, **_options: object) -> None:
        self.may_fetch = False
        self.fetched_from: list[int] = []
        self._position = -1

    async def start(self) -> None:
        """Connect."""

    def assign(self, _partitions: list[TopicPartition]) -> None:
        """Take partitions."""
        self.may_fetch = True

    def assignment(self) -> frozenset[TopicPartition]:
        """What was taken."""
        return frozenset({PLACE})

    def pause(self, *_partitions: TopicPartition) -> None:
        """Fetch nothing."""
        self.may_fetch = False

    def resume(self, *_partitions: TopicPartition) -> None:
        """Fetch again."""
        self.may_fetch = True

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        """An answer, during which the background fetches."""
        if self.may_fetch:
            self.fetched_from.append(self._position)
        return dict.fromkeys(partitions, 7)

    async def offsets_for_times(
        self, times: dict[TopicPartition, int]
    ) -> dict[TopicPartition, None]:
        """No record is that late."""
        await self.end_offsets(list(times))
        return dict.fromkeys(times)

    def seek(self, _partition: TopicPartition, offset: int) -> None:
        """Stand somewhere."""
        self._position = offset

    async def getmany(self, **_options: object) -> dict[TopicPartition, list[object]]:
        """Wait for what is fetched."""
        if self.may_fetch:
            self.fetched_from.append(self._position)
        return {}


async def test_nothing_is_fetched_before_the_position_is_final(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A fetch at the end waits for records, and whatever is asked after it waits behind it."""
    monkeypatch.setattr(kafka_reader, "AIOKafkaConsumer", Consumer)
    reader = KafkaReader(KafkaConnection(bootstrap="nowhere:1"))
    consumer: Any = reader._consumer
    await reader.start([PLACE])
    await reader.end_offsets()
    await reader.seek_to_time(PLACE, 1)
    assert consumer.fetched_from == []
    await reader.poll(timeout_s=1, max_records=1)
    assert consumer.fetched_from == [7]
