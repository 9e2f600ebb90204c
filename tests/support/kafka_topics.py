"""Topics as a stranger reads and writes them: confluent-kafka and fastavro, nothing of ours.

What checks the product's promises must not share its mistakes, so no code of ``services`` is here.
"""

import contextlib
import io
import json
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import fastavro
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from fastavro.types import Schema

PATIENCE_S = 10.0
_POLL_S = 0.1
_ENVELOPE_BYTES = 5


TerminalOf = Callable[..., dict[str, Any]]
"""Waits for the first terminal record of a request, by its id; ``timeout_s`` bounds the wait."""


class LogRecord(NamedTuple):
    """A record as it lies in the log."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, list[bytes]]

    def header(self, name: str) -> bytes:
        """The value of a header that is there once."""
        (value,) = self.headers[name]
        return value


class TopicReader:
    """Reads a topic from its first offset on, in no group.

    Attributes:
        records: What has been read so far, in order of each partition.
    """

    def __init__(self, bootstrap: str, topic: str) -> None:
        """Stand at the topic's start."""
        self.records: list[LogRecord] = []
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "test-reader",  # librdkafka wants one; nothing is committed
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
            }
        )
        metadata = self._consumer.list_topics(topic, timeout=PATIENCE_S).topics[topic]
        assert metadata.error is None, f"there is no topic {topic}"
        self._partitions = [TopicPartition(topic, number, 0) for number in metadata.partitions]
        self._consumer.assign(self._partitions)

    def poll(self) -> list[LogRecord]:
        """What has come since the last call, after a moment's patience."""
        messages = self._consumer.consume(1000, timeout=_POLL_S)
        fresh = [_record(message) for message in messages if message.error() is None]
        self.records += fresh
        return fresh

    def read_to_end(self) -> list[LogRecord]:
        """Everything there is now."""
        ends = {
            each.partition: self._consumer.get_watermark_offsets(each, timeout=PATIENCE_S)[1]
            for each in self._partitions
        }
        give_up_at_s = time.monotonic() + PATIENCE_S
        while any(
            position.offset < ends[position.partition]
            for position in self._consumer.position(self._partitions)
            if ends[position.partition]
        ):
            assert time.monotonic() < give_up_at_s, "the end of the topic is not reached"
            self.poll()
        return self.records

    def wait_for(
        self, condition: Callable[[LogRecord], bool], *, timeout_s: float = PATIENCE_S
    ) -> LogRecord:
        """The first record for which something holds."""
        give_up_at_s = time.monotonic() + timeout_s
        fresh = self.records
        while True:
            for record in fresh:
                if condition(record):
                    return record
            assert time.monotonic() < give_up_at_s, f"no such record in {timeout_s:g} s"
            fresh = self.poll()

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close()


@contextlib.contextmanager
def topic_reader(bootstrap: str, topic: str) -> Iterator[TopicReader]:
    """A reader for the length of a ``with`` block."""
    reader = TopicReader(bootstrap, topic)
    try:
        yield reader
    finally:
        reader.close()


class TopicWriter:
    """Writes bytes as they are."""

    def __init__(self, bootstrap: str) -> None:
        """Connect in the background."""
        self._producer = Producer({"bootstrap.servers": bootstrap, "message.max.bytes": 8_000_000})

    def write(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
        partition: int = 0,
    ) -> int:
        """Write a record and wait until Kafka has it; returns its offset."""
        acknowledged: list[Message] = []

        def delivered(error: object, message: Message) -> None:
            assert error is None, error
            acknowledged.append(message)

        lines: list[tuple[str, str | bytes | None]] = list(headers)
        self._producer.produce(
            topic, value, key, partition=partition, headers=lines, on_delivery=delivered
        )
        assert self._producer.flush(PATIENCE_S) == 0
        offset = acknowledged[0].offset()
        assert offset is not None
        return offset


class SchemaReader:
    """Decodes values by the schemas that a registry serves."""

    def __init__(self, registry_url: str) -> None:
        """Use a registry."""
        self._url = registry_url
        self._schemas: dict[int, Schema] = {}

    def decode(self, value: bytes) -> dict[str, Any]:
        """The record in a value of Confluent's wire format."""
        assert value[0] == 0
        schema_id = int.from_bytes(value[1:_ENVELOPE_BYTES], "big")
        if schema_id not in self._schemas:
            with urllib.request.urlopen(  # noqa: S310  # a loopback URL
                f"{self._url}/schemas/ids/{schema_id}", timeout=PATIENCE_S
            ) as answer:
                schema = json.loads(json.load(answer)["schema"])
            self._schemas[schema_id] = fastavro.parse_schema(schema)
        record: Any = fastavro.schemaless_reader(
            io.BytesIO(value[_ENVELOPE_BYTES:]), self._schemas[schema_id], None
        )
        return dict(record)


def _record(message: Message) -> LogRecord:
    headers: dict[str, list[bytes]] = {}
    given: Any = message.headers() or []
    for name, value in given:
        headers.setdefault(name, []).append(value or b"")
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    return LogRecord(topic, partition, offset, message.key(), message.value(), headers)
