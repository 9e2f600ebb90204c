"""A producer whose records the log has lost, on a real broker."""

import asyncio

import pytest
from aiokafka.errors import OutOfOrderSequenceNumber
from aiokafka.structs import TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from services.shared.stream.kafka_connection import KafkaConnection
from services.shared.stream.kafka_log import KafkaLog

pytestmark = pytest.mark.kafka
TOPIC = "of-a-lost-log"


async def test_it_says_that_the_log_does_not_know_what_it_acknowledged(
    kafka_bootstrap: str,
) -> None:
    """A broker that misses records refuses what follows them, and the process is told."""
    admin = AdminClient({"bootstrap.servers": kafka_bootstrap, "log_level": 0})
    for made in admin.create_topics([NewTopic(TOPIC, num_partitions=1)]).values():
        await asyncio.to_thread(made.result)
    lost = asyncio.Event()
    log = KafkaLog(KafkaConnection(bootstrap=kafka_bootstrap), topics=[TOPIC], on_lost=lost.set)
    producer = log.producer()
    await producer.start()
    await (await producer.send(TOPIC, partition=0, key=None, value=b"kept", headers=[]))
    assert not lost.is_set()
    sequences = producer._producer._txn_manager
    sequences.increment_sequence_number(TopicPartition(TOPIC, 0), 3)  # three that are gone
    after = await producer.send(TOPIC, partition=0, key=None, value=b"after", headers=[])
    with pytest.raises(OutOfOrderSequenceNumber):
        await after
    assert lost.is_set()
    await producer.stop()
