"""What the runtime needs of a log: consumers with groups, producers with acknowledgements.

``services.shared.stream.kafka_log`` is the real one, ``tests.support.memory_log`` the in-memory
one; one contract suite runs against both. Records are aiokafka's own ``ConsumerRecord``.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol

from aiokafka import structs
from aiokafka.structs import ConsumerRecord, RecordMetadata

from services.shared.domain.topics import dead_letters

TopicPartition = structs.TopicPartition
Raw = ConsumerRecord[bytes | None, bytes | None]
Polled = Mapping[TopicPartition, Sequence[Raw]]
OnAssigned = Callable[[Mapping[TopicPartition, int]], Awaitable[None]]
OnPartitions = Callable[[frozenset[TopicPartition]], Awaitable[None]]

MAX_RECORD_BYTES = 8 * 1024 * 1024
"""Largest record that any topic takes; ``topics/*.yaml`` and the brokers say the same."""

DEAD_LETTER_HEADROOM_BYTES = 64 * 1024
"""What a dead letter may be larger than its record, for the headers that say why."""

REPLAYED_RECORDS = 10_000
"""So many of a partition are taken again after it lost its end: more than come in a few minutes."""


def restart_offset(offset: int, *, start: int, end: int) -> int:
    """Where a group goes on whose offset is outside of the log.

    Before its start the log has forgotten records: on from the start. Beyond its end it has lost
    records that it had acknowledged, and perhaps what earlier ones had caused; so the last ones are
    taken again, but not days of them.
    """
    return start if offset < start else max(start, end - REPLAYED_RECORDS)


def record_limit_bytes(topic: str) -> int:
    """Largest record that a topic takes, with key, headers and framing."""
    is_dlq = topic.endswith(dead_letters(""))
    return MAX_RECORD_BYTES + (DEAD_LETTER_HEADROOM_BYTES if is_dlq else 0)


class Membership(Protocol):
    """Whether a consumer still owns its partitions, as its group coordinator sees it."""

    @property
    def confirmed_at_s(self) -> float:
        """When the coordinator last confirmed the membership, on the monotonic clock."""
        ...

    @property
    def is_lost(self) -> bool:
        """The coordinator does not know this member any more: somebody else has its partitions."""
        ...


class Consumer(Protocol):
    """One member of a consumer group on one topic; reads committed records only."""

    @property
    def membership(self) -> Membership:
        """Its standing in the group."""
        ...

    async def start(
        self, *, on_assigned: OnAssigned, on_revoked: OnPartitions, on_reset: OnPartitions
    ) -> None:
        """Join the group. A group without offsets starts at the log's start.

        Args:
            on_assigned: Told the partitions that are owned from now on and the offset at which
                each goes on, before any record of them. Pauses of before are gone.
            on_revoked: Told the partitions that are no longer owned; may still commit.
            on_reset: Told the partitions whose position fell out of range; see ``restart_offset``.

        Raises:
            Unavailable: No broker answers. Retriable.
        """
        ...

    async def poll(self, *, timeout_s: float, max_records: int) -> Polled:
        """Wait for records, at most ``timeout_s``; one out of range: see ``restart_offset``.

        Raises:
            Unavailable: No broker answers. Retriable.
        """
        ...

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Stop handing out records of these partitions; membership goes on."""
        ...

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Hand out records of these partitions again."""
        ...

    def assignment(self) -> frozenset[TopicPartition]:
        """Partitions this member owns now."""
        ...

    def position(self, partition: TopicPartition) -> int:
        """Offset of the next record it will hand out of an owned partition.

        It passes offsets that hold no record (aborted ones, markers of transactions).
        """
        ...

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit positions (the next offset to read).

        Raises:
            Unavailable: No broker answers, or the group is rebalancing. Retriable.
        """
        ...

    async def backlog(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        """End offsets of those partitions that hold uncommitted records."""
        ...

    def lag(self) -> Mapping[TopicPartition, int]:
        """Records not yet handed out, by partition, as far as the last fetch knows."""
        ...

    async def leave(self) -> None:
        """Leave for good, a static member too: others get its partitions. Never waits for long."""
        ...

    async def stop(self) -> None:
        """Leave (a static member keeps its place for a session timeout). Never waits for long."""
        ...


class Reader(Protocol):
    """Reads partitions by itself, with no group and no commits; reads committed records only."""

    async def start(self, partitions: Iterable[TopicPartition]) -> None:
        """Connect and stand at the end of each partition.

        Raises:
            Unavailable: No broker answers. Retriable.
        """
        ...

    async def seek_to_time(self, partition: TopicPartition, at_ms: int) -> None:
        """Stand at the first record with this timestamp or a later one (unix ms), or at the end."""
        ...

    async def seek(self, partition: TopicPartition, offset: int) -> None:
        """Stand at an offset; one that is out of range becomes the log's start."""
        ...

    async def end_offsets(self) -> Mapping[TopicPartition, int]:
        """End of each partition: the offset its next record will get."""
        ...

    async def position(self, partition: TopicPartition) -> int:
        """Offset of the next record it will hand out."""
        ...

    async def poll(self, *, timeout_s: float, max_records: int) -> Polled:
        """Wait for records, at most ``timeout_s``.

        Raises:
            Unavailable: No broker answers. Retriable.
        """
        ...

    async def stop(self) -> None:
        """Disconnect."""
        ...


class Producer(Protocol):
    """Writes records: idempotent, acknowledged by all in-sync replicas."""

    async def start(self) -> None:
        """Connect.

        Raises:
            Unavailable: No broker answers. Retriable.
        """
        ...

    def partition_count(self, topic: str) -> int:
        """Number of partitions of a topic, read at start."""
        ...

    async def send(
        self,
        topic: str,
        *,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]],
    ) -> asyncio.Future[RecordMetadata]:
        """Hand over a record; the future resolves when it is acknowledged.

        While no broker answers it is kept, and sent when one does. A future that fails means that
        nobody knows whether the record was written.

        Args:
            topic: Where to.
            partition: One of the topic's partitions.
            key: Record key.
            value: Record value; None deletes the key on a compacted topic.
            headers: Record headers.

        Raises:
            PoisonRecord: The record is larger than ``record_limit_bytes``. Not retriable.
            Unavailable: No broker answers, and enough is kept already. Retriable.
        """
        ...

    async def stop(self) -> None:
        """Send what is buffered and disconnect. Never waits for long."""
        ...


class Log(Protocol):
    """A log: makes consumers and producers."""

    def consumer(self, *, topic: str, group: str, instance_id: str | None) -> Consumer:
        """A consumer of one topic in a group; ``instance_id`` makes its membership static."""
        ...

    def producer(self) -> Producer:
        """A producer."""
        ...

    def reader(self) -> Reader:
        """A reader without a group."""
        ...
