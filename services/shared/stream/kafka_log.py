"""The log on a real Kafka, by aiokafka."""

from collections.abc import Callable, Iterable

from services.shared.stream.kafka_connection import KafkaConnection
from services.shared.stream.kafka_consumer import KafkaConsumer
from services.shared.stream.kafka_producer import KafkaProducer
from services.shared.stream.kafka_reader import KafkaReader


class KafkaLog:
    """Makes clients of one Kafka cluster."""

    def __init__(
        self,
        connection: KafkaConnection,
        *,
        topics: Iterable[str],
        on_lost: Callable[[], None] | None = None,
    ) -> None:
        """Remember the cluster, the topics that producers will write to, and whom they tell."""
        self._connection = connection
        self._topics = tuple(topics)
        self._on_lost = on_lost

    def consumer(self, *, topic: str, group: str, instance_id: str | None) -> KafkaConsumer:
        """A consumer of one topic in a group."""
        return KafkaConsumer(self._connection, topic=topic, group=group, instance_id=instance_id)

    def producer(self) -> KafkaProducer:
        """An idempotent producer."""
        return KafkaProducer(self._connection, topics=self._topics, on_lost=self._on_lost)

    def reader(self) -> KafkaReader:
        """A reader without a group."""
        return KafkaReader(self._connection)
