"""Topics as they lie in Kafka, read from their first offset on, by confluent-kafka and fastavro."""

import io
import json
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import fastavro
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Message, TopicPartition
from confluent_kafka.admin import AdminClient
from fastavro.types import Schema

from tests.faults.checker.history import Entry, Lag

PATIENCE_S = 30.0
_POLL_S = 0.2
_BATCH = 2_000
_UNREAD = frozenset({"result-chunks", "usage-windows"})
"""Most of all records, and what clients saw of them is in the operation log."""

_ENVELOPE_BYTES = 5
_UNREADABLE = (ValueError, EOFError, IndexError, KeyError, OverflowError, TypeError)


class Schemas:
    """Decodes values by the schemas that lie as files in a folder."""

    def __init__(self, folder: Path) -> None:
        """Read the folder's ids and schemas."""
        ids: dict[str, int] = json.loads((folder / "ids.json").read_text())
        self._schemas: dict[int, Schema] = {
            number: fastavro.parse_schema(json.loads((folder / f"{name}.avsc").read_text()))
            for name, number in ids.items()
        }

    def decode(self, value: bytes | None) -> Mapping[str, Any] | None:
        """The record in a value of Confluent's wire format; None where there is none."""
        if value is None or len(value) < _ENVELOPE_BYTES or value[0] != 0:
            return None
        schema = self._schemas.get(int.from_bytes(value[1:_ENVELOPE_BYTES], "big"))
        if schema is None:
            return None
        body = io.BytesIO(value[_ENVELOPE_BYTES:])
        try:
            record: Any = fastavro.schemaless_reader(body, schema, None)
        except _UNREADABLE:
            return None
        return dict(record) if not body.read(1) else None


def read_topics(
    bootstrap: str, schemas: Schemas, *, only: Collection[str] = ()
) -> dict[str, list[Entry]]:
    """Everything in every topic that the checks look at, committed records only.

    Args:
        bootstrap: Of the cluster.
        schemas: What the bytes mean.
        only: Topics to read; empty = all.

    Raises:
        TimeoutError: The end was not reached in time. Retriable.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "fault-checker",  # librdkafka wants one; nothing is committed
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
        }
    )
    try:
        return _read_all(consumer, schemas, only)
    finally:
        consumer.close()


def _read_all(
    consumer: Consumer, schemas: Schemas, only: Collection[str]
) -> dict[str, list[Entry]]:
    topics = consumer.list_topics(timeout=PATIENCE_S).topics
    names = [name for name in topics if (name in only if only else _is_ours(name))]
    places, ends = _places_and_ends(consumer, names)
    found: dict[str, list[Entry]] = {name: [] for name in names}
    consumer.assign(places)
    give_up_at_s = time.monotonic() + PATIENCE_S
    while _is_before_end(consumer, places, ends):
        if time.monotonic() > give_up_at_s:
            raise TimeoutError("the end of the topics was not reached")
        for message in consumer.consume(_BATCH, timeout=_POLL_S):
            if message.error() is None:
                entry = _entry(message, schemas)
                found[entry.topic].append(entry)
    return found


def _is_ours(name: str) -> bool:
    is_wanted = name not in _UNREAD and not name.endswith("changelog")
    return is_wanted and not name.startswith("_")


def _places_and_ends(
    consumer: Consumer, names: Iterable[str]
) -> tuple[list[TopicPartition], dict[tuple[str, int], int]]:
    places, ends = [], {}
    topics = consumer.list_topics(timeout=PATIENCE_S).topics
    for name in names:
        for partition in topics[name].partitions:
            first, end = consumer.get_watermark_offsets(
                TopicPartition(name, partition), timeout=PATIENCE_S
            )
            if end > first:
                places.append(TopicPartition(name, partition, first))
                ends[name, partition] = end
    return places, ends


def _is_before_end(
    consumer: Consumer, places: Sequence[TopicPartition], ends: Mapping[tuple[str, int], int]
) -> bool:
    return any(
        position.offset < ends[position.topic, position.partition]
        for position in consumer.position(list(places))
    )


def _entry(message: Message, schemas: Schemas) -> Entry:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    headers: Any = message.headers() or []
    value = message.value()
    return Entry(
        topic=topic,
        partition=partition,
        offset=offset,
        at_ms=message.timestamp()[1],
        key=message.key(),
        value=value,
        headers=tuple((name, content or b"") for name, content in headers),
        record=None if topic.endswith("-dlq") else schemas.decode(value),
    )


def read_lags(bootstrap: str, groups: Iterable[str]) -> tuple[Lag, ...]:
    """How far groups are; those that never committed are not among them."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "fault-checker"})
    try:
        return tuple(lag for group in groups for lag in _lags_of(group, admin, consumer))
    finally:
        consumer.close()


def groups_of(bootstrap: str) -> list[str]:
    """All consumer groups."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    listed = admin.list_consumer_groups(request_timeout=PATIENCE_S).result()
    return sorted(group.group_id for group in listed.valid)


def _lags_of(group: str, admin: AdminClient, consumer: Consumer) -> Iterable[Lag]:
    asked = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])
    committed = asked[group].result(PATIENCE_S).topic_partitions or []
    for place in committed:
        _, end = consumer.get_watermark_offsets(place, timeout=PATIENCE_S)
        yield Lag(
            group=group,
            topic=place.topic,
            partition=place.partition,
            committed=place.offset,
            end=end,
        )
