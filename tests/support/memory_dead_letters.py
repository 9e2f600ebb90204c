"""Dead letters on a cluster in memory: what ``millrace dlq`` needs of one, and how they come up."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from aiokafka.structs import TopicPartition

from services.shared.domain.dead_letters import Place, headers_of_mark
from services.shared.domain.errors import PoisonRecord, Unavailable
from services.shared.domain.topics import dead_letters
from services.shared.stream.bulk import Read
from services.shared.stream.client import Raw
from services.shared.stream.dead_letter_log import Outgoing, Write
from services.shared.stream.poison import dead_letter_headers
from tests.support.memory_log import MemoryCluster
from tests.support.memory_partition import Headers

_BATCH = 2  # so that a test reads in several


def bury(
    cluster: MemoryCluster,
    topic: str,
    value: bytes | None,
    *,
    reason: str = "processor_error",
    key: bytes | None = b"key",
    headers: Headers = (),
    partition: int = 0,
) -> str:
    """Write a record, and its dead letter as the runtime does; returns its id."""
    offset = cluster.append(topic, partition=partition, key=key, value=value, headers=headers)
    bury_again(cluster, Place(topic, partition, offset), reason=reason)
    return f"{topic}-{partition}-{offset}"


def bury_again(
    cluster: MemoryCluster, origin: Place, *, reason: str = "processor_error", group: str = "probe"
) -> None:
    """Write one more dead letter of a record."""
    raw = raw_at(cluster, origin)
    cluster.append(
        dead_letters(origin.topic),
        partition=origin.partition,
        key=raw.key,
        value=raw.value,
        headers=[*raw.headers, *dead_letter_headers(raw, PoisonRecord(reason, "why"), group=group)],
    )


def raw_at(cluster: MemoryCluster, place: Place) -> Raw:
    """The record at a place."""
    raw = cluster.partition(TopicPartition(place.topic, place.partition)).entries[place.offset]
    assert raw is not None
    return raw


class MemoryDeadLetterLog:
    """The dead-letter topics of a cluster in memory.

    Attributes:
        is_cut: Writes fail.
    """

    def __init__(self, cluster: MemoryCluster) -> None:
        """Connect."""
        self.is_cut = False
        self._cluster = cluster
        self._epoch = 0

    def partition_counts(self) -> Mapping[str, int]:
        """See ``Log``."""
        return self._cluster.topics

    def reader(self, topic: str, *, since_ms: int | None = None) -> "_MemoryReader":
        """See ``Log``."""
        return _MemoryReader([it for it in self._kept(topic) if it.timestamp_ms >= (since_ms or 0)])

    def fetch(self, places: Sequence[Place]) -> Iterator[Read]:
        """See ``Log``."""
        for topic in sorted({place.topic for place in places}):
            for read in self._kept(topic):
                if Place(read.topic, read.partition, read.offset) in places:
                    yield read

    @contextmanager
    def redriving(self) -> Iterator[Write]:
        """See ``Log``."""
        self._epoch += 1
        epoch = self._epoch

        def write(records: Sequence[Outgoing], at_ms: int) -> Sequence[Place]:
            if self.is_cut or epoch != self._epoch:
                raise Unavailable("kafka", "cut" if self.is_cut else "another redrive took over")
            return [self._put_back(record, at_ms) for record in records]

        yield write

    def delete(self, topic: str, befores: Mapping[int, int]) -> None:
        """See ``Log``."""
        for partition, before in befores.items():
            self._cluster.truncate(topic, before=before, partition=partition)

    def _put_back(self, record: Outgoing, at_ms: int) -> Place:
        offset = self._cluster.append(
            record.topic,
            partition=record.partition,
            key=record.key,
            value=record.value,
            headers=record.headers,
        )
        to = Place(record.topic, record.partition, offset)
        self._cluster.append(
            record.letter.place.topic,
            partition=record.letter.place.partition,
            headers=headers_of_mark(record.letter, to=to, at_ms=at_ms),
        )
        return to

    def _kept(self, topic: str) -> list[Read]:
        return [
            _read(raw)
            for raw in self._cluster.records(topic)
            if raw.offset >= self._cluster.partition(TopicPartition(topic, raw.partition)).start
        ]


class _MemoryReader:
    def __init__(self, reads: Sequence[Read]) -> None:
        self._reads = reads

    @property
    def total(self) -> int:
        return len(self._reads)

    def batches(self, *, follow: bool) -> Iterator[Sequence[Read]]:
        assert not follow
        for start in range(0, len(self._reads), _BATCH):
            yield self._reads[start : start + _BATCH]

    def close(self) -> None:
        pass


def _read(raw: Raw) -> Read:
    return Read(
        topic=raw.topic,
        partition=raw.partition,
        offset=raw.offset,
        timestamp_ms=raw.timestamp,
        key=raw.key,
        value=raw.value,
        headers=tuple(raw.headers),
    )
