"""What the command line needs of Kafka to look after dead letters, by confluent-kafka.

A redrive is a transaction: the record that is put back and the mark on the dead-letter topic become
readable together, or neither does. All redrives share one transactional id, so one that begins ends
the writes of any other that still runs: what it then reads of the marks is all there will be.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import msgspec
from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from services.shared.domain.dead_letters import DeadLetter, Headers, Place, headers_of_mark
from services.shared.domain.errors import Unavailable
from services.shared.stream.admin import admin_client
from services.shared.stream.bulk import BulkReader, Position, Read, read_message, reader_options

_ANSWER_S = 20.0
_POLL_S = 0.2
_POLL_RECORDS = 100
_TRANSACTIONAL_ID = "millrace-redrive"
_TRANSACTION_MS = 10_000  # readers of the partitions wait that long for a redrive that was killed


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """A record that is put back.

    Attributes:
        letter: The dead letter that it comes from.
        topic: Where to.
        partition: One of the topic's partitions.
        key: Its key.
        value: Its value.
        headers: Its headers.
    """

    letter: DeadLetter
    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers


Write = Callable[[Sequence[Outgoing], int], Sequence[Place]]
"""Puts records back and marks their dead letters, all or none, at a time (unix ms)."""


class DeadLetterLog:
    """The dead-letter topics of a cluster."""

    def __init__(self, bootstrap: str) -> None:
        """Connect to brokers when it is asked something."""
        self._bootstrap = bootstrap
        self._admin, _ = admin_client(bootstrap)

    def partition_counts(self) -> Mapping[str, int]:
        """The number of partitions of every topic that the cluster has.

        Raises:
            Unavailable: No broker answers. Retriable.
        """
        with _mapped():
            topics = self._admin.list_topics(timeout=_ANSWER_S).topics
        return {name: len(topic.partitions) for name, topic in topics.items()}

    def reader(self, topic: str, *, since_ms: int | None = None) -> BulkReader:
        """A reader of a topic, from its start or from a time.

        Raises:
            Unavailable: No broker answers. Retriable.
        """
        return BulkReader(self._bootstrap, topic, position=Position(since_ms=since_ms))

    def fetch(self, places: Sequence[Place]) -> Iterator[Read]:
        """Read the records at some places, by partition; those that are gone are left out.

        Raises:
            Unavailable: No broker answers. Retriable.
        """
        wanted: dict[tuple[str, int], set[int]] = {}
        for place in places:
            wanted.setdefault((place.topic, place.partition), set()).add(place.offset)
        with _mapped():
            consumer = Consumer(reader_options(self._bootstrap))
            try:
                for (topic, partition), offsets in sorted(wanted.items()):
                    consumer.assign([TopicPartition(topic, partition, min(offsets))])
                    yield from _those(consumer, offsets)
            finally:
                consumer.close()

    @contextmanager
    def redriving(self) -> Iterator[Write]:
        """Begin to put records back; any other process that does can write no more.

        Raises:
            Unavailable: No broker answers. Retriable.
        """
        producer = Producer(
            {
                "bootstrap.servers": self._bootstrap,
                "transactional.id": _TRANSACTIONAL_ID,
                "transaction.timeout.ms": _TRANSACTION_MS,
                "message.max.bytes": 8 * 1024 * 1024,
                "message.timeout.ms": _TRANSACTION_MS,
                "log_level": 0,  # what goes wrong is raised
            }
        )
        with _mapped():
            producer.init_transactions(_ANSWER_S)
        yield partial(_write, producer)

    def delete(self, topic: str, befores: Mapping[int, int]) -> None:
        """Delete the beginning of partitions.

        Args:
            topic: The topic.
            befores: By partition, the offset before which everything goes.

        Raises:
            Unavailable: No broker answers, or it may not be done.
        """
        cuts = [TopicPartition(topic, partition, before) for partition, before in befores.items()]
        with _mapped():
            for future in self._admin.delete_records(cuts, request_timeout=_ANSWER_S).values():
                future.result()


def _those(consumer: Consumer, offsets: set[int]) -> Iterator[Read]:
    """The records at some offsets of the assigned partition."""
    last = max(offsets)
    while True:
        for message in consumer.consume(_POLL_RECORDS, timeout=_POLL_S):
            error = message.error()
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  # its public name
                    return
                raise KafkaException(error)
            read = read_message(message)
            if read.offset in offsets:
                yield read
            if read.offset >= last:
                return


def _write(producer: Producer, records: Sequence[Outgoing], at_ms: int) -> Sequence[Place]:
    """Put records back; returns where each is once that and the marks are durable.

    Raises:
        Unavailable: None of it was written.
    """
    with _mapped():
        producer.begin_transaction()
        try:
            places = _produce(producer, [(r.topic, r.partition, _content(r)) for r in records])
            marks = [
                (
                    record.letter.place.topic,
                    record.letter.place.partition,
                    {"headers": list(headers_of_mark(record.letter, to=to, at_ms=at_ms))},
                )
                for record, to in zip(records, places, strict=True)
            ]
            _produce(producer, marks)
            producer.commit_transaction(_ANSWER_S)
        except BaseException:  # an interruption, too: nobody is to wait for the transaction's end
            with suppress(KafkaException):  # then the broker ends it, in ten seconds
                producer.abort_transaction(_ANSWER_S)
            raise
    return places


def _content(record: Outgoing) -> dict[str, Any]:
    return {"key": record.key, "value": record.value, "headers": list(record.headers)}


def _produce(producer: Producer, records: Sequence[tuple[str, int, dict[str, Any]]]) -> list[Place]:
    """Write records in the open transaction; returns where they are."""
    places: dict[int, Place] = {}
    errors: list[KafkaError] = []

    def delivered(number: int, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            errors.append(error)
        else:
            topic, partition, offset = message.topic(), message.partition(), message.offset()
            places[number] = Place(topic or "", partition or 0, offset or 0)

    for number, (topic, partition, content) in enumerate(records):
        on_delivery = partial(delivered, number)
        producer.produce(topic, partition=partition, on_delivery=on_delivery, **content)
    producer.flush(_ANSWER_S)
    if errors:
        raise KafkaException(errors[0])
    if len(places) != len(records):
        raise Unavailable("kafka", f"{len(records) - len(places)} records were not acknowledged")
    return [places[number] for number in range(len(records))]


@contextmanager
def _mapped() -> Iterator[None]:
    """Turn librdkafka's errors into ours."""
    try:
        yield
    except KafkaException as error:
        raise _unavailable(error) from error
    except SystemError as error:  # how a fatal error comes out of ``flush``, by a delivery callback
        if not isinstance(error.__cause__, KafkaException):
            raise
        raise _unavailable(error.__cause__) from error


def _unavailable(error: KafkaException) -> Unavailable:
    reason = error.args[0]
    if not isinstance(reason, KafkaError):
        return Unavailable("kafka", str(error))
    if reason.code() == KafkaError._FENCED:  # noqa: SLF001  # its public name
        return Unavailable("kafka", "another redrive began and took over; see what it did first")
    return Unavailable("kafka", reason.str())
