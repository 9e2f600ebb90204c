"""Reading and writing in bulk from the command line, by confluent-kafka: a microsecond a record."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from services.shared.domain.errors import InvalidConfiguration, Unavailable
from services.shared.stream.quiet_client import BrokerTrouble

_POLL_S = 0.2
_POLL_RECORDS = 500
_ANSWER_S = 10.0
PARTITION_UA = -1
"""librdkafka's word for: by key."""

_LOG_START = 0
_TIMESTAMP_NOT_FOUND = -1
_NOBODY = "millrace-cli"  # librdkafka wants a group name; nothing is committed under it


class Read(msgspec.Struct, frozen=True, kw_only=True):
    """One record.

    Attributes:
        topic: Its topic.
        partition: Its partition.
        offset: Its offset.
        timestamp_ms: Kafka's timestamp, unix ms.
        key: Its key.
        value: Its value.
        headers: Its headers.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """Where to begin in every partition; the first that is set counts.

    Attributes:
        offset: At this offset; negative = so many before the end.
        since_ms: At the first record of this time or later, unix ms.
        at_end: At the end.
    """

    offset: int | None = None
    since_ms: int | None = None
    at_end: bool = False


class BulkReader:
    """Reads a topic from a position; iterate ``batches``."""

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        *,
        position: Position,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Connect and find the position in every partition.

        Raises:
            InvalidConfiguration: There is no such topic.
            Unavailable: No broker answers.
        """
        trouble = BrokerTrouble()
        self._consumer = Consumer(
            {**trouble.settings, **reader_options(bootstrap), **(options or {})}
        )
        try:
            self._ends, starts = self._find(topic, position)
            self._consumer.assign(starts)
        except KafkaException as error:
            raise trouble.unavailable(error, self._consumer) from error
        self._total = sum(
            max(0, self._ends[tp.partition] - tp.offset) for tp in starts if tp.offset >= 0
        )

    @property
    def total(self) -> int:
        """Records between the position and the end, as of the start; holes included."""
        return self._total

    def batches(self, *, follow: bool) -> Iterator[Sequence[Read]]:
        """Hand out records until the end, or for ever.

        Raises:
            Unavailable: The broker is gone.
        """
        open_partitions = {p for p, end in self._ends.items() if end > 0}
        while follow or open_partitions:
            messages = self._consumer.consume(_POLL_RECORDS, timeout=_POLL_S)
            records = []
            for message in messages:
                error = message.error()
                if error is None:
                    records.append(read_message(message))
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  # its public name
                    open_partitions.discard(message.partition())
                else:
                    raise Unavailable("kafka", error.str())
            yield records

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close()

    def _find(self, topic: str, position: Position) -> tuple[dict[int, int], list[TopicPartition]]:
        metadata = self._consumer.list_topics(topic, timeout=_ANSWER_S).topics[topic]
        if metadata.error is not None:
            raise InvalidConfiguration(
                f"There is no topic '{topic}' on this cluster. 'millrace topics list' lists them."
            )
        ends: dict[int, int] = {}
        starts = []
        for number in metadata.partitions:
            low, high = self._consumer.get_watermark_offsets(
                TopicPartition(topic, number), timeout=_ANSWER_S
            )
            ends[number] = high
            starts.append(TopicPartition(topic, number, self._start(position, low, high)))
        if position.since_ms is not None:
            wanted = [TopicPartition(topic, p, position.since_ms) for p in ends]
            starts = self._consumer.offsets_for_times(wanted, timeout=_ANSWER_S)
            for tp in starts:
                if tp.offset <= _TIMESTAMP_NOT_FOUND:
                    tp.offset = ends[tp.partition]
        return ends, starts

    @staticmethod
    def _start(position: Position, low: int, high: int) -> int:
        if position.at_end:
            return high
        if position.offset is None:
            return low
        wanted = position.offset if position.offset >= 0 else high + position.offset
        return min(max(low, wanted), high)


def reader_options(bootstrap: str) -> dict[str, Any]:
    """Settings of a consumer that reads for a command."""
    return {
        "bootstrap.servers": bootstrap,
        "group.id": _NOBODY,
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
        "auto.offset.reset": "earliest",
        "enable.partition.eof": True,
    }


def read_message(message: Message) -> Read:
    """A record as librdkafka delivered it."""
    _kind, timestamp_ms = message.timestamp()
    headers = tuple(
        (name, value.encode() if isinstance(value, str) else value or b"")
        for name, value in _pairs(message)
    )
    return Read(
        topic=message.topic() or "",
        partition=message.partition() or 0,
        offset=message.offset() or 0,
        timestamp_ms=timestamp_ms,
        key=message.key(),
        value=message.value(),
        headers=headers,
    )


class BulkWriter:
    """Writes records and reports each acknowledgement."""

    def __init__(self, bootstrap: str, *, options: Mapping[str, Any] | None = None) -> None:
        """Prepare; librdkafka connects in the background."""
        self._producer = Producer(
            {
                **BrokerTrouble().settings,
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "linger.ms": 5,
                "message.max.bytes": 8 * 1024 * 1024,
                "queue.buffering.max.kbytes": 65_536,
                "message.timeout.ms": 30_000,
                **(options or {}),
            }
        )

    def write(  # noqa: PLR0913  # a record has these parts
        self,
        topic: str,
        *,
        key: bytes,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]],
        on_acknowledged: Callable[[str], None],
        partition: int = PARTITION_UA,
    ) -> None:
        """Queue a record; waits while the queue is full.

        Args:
            topic: Where to.
            key: Record key.
            value: Record value; None = a tombstone.
            headers: Record headers.
            on_acknowledged: Told, during a later call, what went wrong, or nothing.
            partition: Explicit partition; without it, by key.
        """

        def delivered(error: KafkaError | None, _message: Message) -> None:
            on_acknowledged("" if error is None else error.str())

        while True:
            try:
                self._producer.produce(
                    topic,
                    value,
                    key,
                    partition,
                    headers=list(headers),
                    on_delivery=delivered,
                )
            except BufferError:
                self._producer.poll(_POLL_S)
            else:
                self._producer.poll(0)
                return

    def flush(self) -> int:
        """Wait for the acknowledgements; returns how many are still missing."""
        return int(self._producer.flush(_ANSWER_S * 3))


def _pairs(message: Message) -> list[tuple[str, str | bytes | None]]:
    """A message's headers; librdkafka types them as a list or a dict."""
    headers: Any = message.headers() or []
    return list(headers.items() if isinstance(headers, dict) else headers)
