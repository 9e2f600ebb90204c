"""The log on a real Kafka, by aiokafka."""

from collections.abc import Iterable

from services.shared.stream.kafka_connection import KafkaConnection
from services.shared.stream.kafka_consumer import KafkaConsumer
from services.shared.stream.kafka_producer import KafkaProducer
from services.shared.stream.kafka_reader import KafkaReader


class KafkaLog:
    """Makes clients of one Kafka cluster."""

    def __init__(self, connection: KafkaConnection, *, topics: Iterable[str]) -> None:
        """Remember the cluster and the topics that producers will write to."""
        self._connection = connection
        self._topics = tuple(topics)

    def consumer(self, *, topic: str, group: str, instance_id: str | None) -> KafkaConsumer:
        """A consumer of one topic in a group."""
        return KafkaConsumer(self._connection, topic=topic, group=group, instance_id=instance_id)

    def producer(self) -> KafkaProducer:
        """An idempotent producer."""
        return KafkaProducer(self._connection, topics=self._topics)

    def reader(self) -> KafkaReader:
        """A reader without a group."""
        return KafkaReader(self._connection)
