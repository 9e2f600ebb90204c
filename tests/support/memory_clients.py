"""Clients of the cluster in memory: consumer, reader, producer."""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from aiokafka.structs import RecordMetadata, TopicPartition

from services.shared.domain.errors import PoisonRecord, Unavailable
from services.shared.stream.client import OnAssigned, OnPartitions, Polled, Raw, restart_offset
from tests.support.memory_group import Heartbeat, MemoryGroup
from tests.support.memory_partition import Headers, PartitionView, is_oversize

if TYPE_CHECKING:
    from tests.support.memory_log import MemoryCluster

_HEARTBEATS_A_SESSION = 4
_MAX_KEPT_RECORDS = 1000
_KEEP_S = 40.0


class MemoryMembership:
    """What a consumer knows of its standing."""

    def __init__(self, *, now_s: float) -> None:
        """Start as a member in good standing."""
        self.confirmed_at_s = now_s
        self.is_lost = False


class MemoryConsumer:
    """One member of a group on one topic."""

    def __init__(
        self, cluster: "MemoryCluster", *, topic: str, group: MemoryGroup, instance_id: str | None
    ) -> None:
        """Prepare; ``start`` joins."""
        self.topic = topic
        self.instance_id = instance_id
        self.member_id = 0
        self.is_dead = False
        self.membership = MemoryMembership(now_s=cluster.clock.monotonic_s())
        self._cluster = cluster
        self._group = group
        self._views: dict[TopicPartition, PartitionView] = {}
        self._paused: set[TopicPartition] = set()
        self._is_rebalancing = True
        self._heart: asyncio.Task[None] | None = None
        self._callbacks: tuple[OnAssigned, OnPartitions, OnPartitions] | None = None

    async def start(
        self, *, on_assigned: OnAssigned, on_revoked: OnPartitions, on_reset: OnPartitions
    ) -> None:
        """Join the group."""
        if not self._cluster.is_available:
            raise Unavailable("kafka", "no broker answers")
        self._callbacks = (on_assigned, on_revoked, on_reset)
        await self._join()
        self._heart = asyncio.ensure_future(self._beat())

    async def poll(self, *, timeout_s: float, max_records: int) -> Polled:
        """Wait for records."""
        await asyncio.sleep(0)
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    polled = {} if self._is_rebalancing else await self._take(max_records)
                    if polled is None:
                        return {}
                    if polled:
                        return polled
                    await self._cluster.changed()
        except TimeoutError:
            if not self._cluster.is_available and not self.is_dead:
                raise Unavailable("kafka", "no broker answers") from None
            return {}

    async def _take(self, max_records: int) -> dict[TopicPartition, list[Raw]] | None:
        """What there is; None when a position had to be reset first."""
        if not self._cluster.is_available or self.is_dead:
            return {}
        _, _, on_reset = self._told()
        lost = frozenset(where for where, view in self._views.items() if view.is_out_of_range)
        if lost:
            for where in lost:
                view, partition = self._views[where], self._cluster.partition(where)
                view.position = restart_offset(
                    view.position, start=partition.start, end=partition.end
                )
            await on_reset(lost)
            return None
        polled: dict[TopicPartition, list[Raw]] = {}
        for where, view in self._views.items():
            if where not in self._paused and max_records > 0:
                taken = list(view.take(max_records))
                max_records -= len(taken)
                if taken:
                    polled[where] = taken
        return polled

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Stop handing out records of these partitions."""
        self._paused |= self._owned(partitions)

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Hand out records of these partitions again."""
        self._paused -= self._owned(partitions)
        self._cluster.wake()

    def assignment(self) -> frozenset[TopicPartition]:
        """Partitions this member owns now."""
        return frozenset(self._views)

    def position(self, partition: TopicPartition) -> int:
        """Offset of the next record it will hand out."""
        return self._views[partition].position

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit positions."""
        await asyncio.sleep(0)
        if self.is_dead:
            raise Unavailable("kafka", "the process is dead")
        self._owned(offsets)
        self._group.commit(self.member_id, offsets)

    async def backlog(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        """End offsets of those partitions that hold uncommitted records."""
        ends = {where: self._cluster.partition(where).stable_end for where in partitions}
        return {where: end for where, end in ends.items() if end > self._group.position_of(where)}

    def lag(self) -> Mapping[TopicPartition, int]:
        """Records not yet handed out."""
        return {w: view.log.stable_end - view.position for w, view in self._views.items()}

    async def leave(self) -> None:
        """Leave for good."""
        self.instance_id = None
        await self.stop()

    async def stop(self) -> None:
        """Leave."""
        if self._heart is not None:
            self._heart.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._heart
        if not self.is_dead:
            await self._group.leave(self.member_id)
            self.is_dead = True
        self._views.clear()

    def be_forgotten(self) -> None:
        """Be unknown to the coordinator, and learn it by the next heartbeat."""
        self._group.forget(self.member_id)

    def die(self) -> None:
        """End as with SIGKILL."""
        self.is_dead = True
        if self._heart is not None:
            self._heart.cancel()

    # -- what the coordinator does with it -------------------------------------------------------

    async def be_revoked(self) -> None:
        """Lose all partitions; may commit until this returns."""
        if self.is_dead:
            return
        self._is_rebalancing = True
        if self._views:
            _, on_revoked, _ = self._told()
            await on_revoked(frozenset(self._views))

    async def be_assigned(self, partitions: frozenset[TopicPartition]) -> None:
        """Own partitions, from their committed offsets."""
        if self.is_dead:
            return
        self.membership.confirmed_at_s = self._cluster.clock.monotonic_s()
        on_assigned, _, _ = self._told()
        self._paused.clear()
        self._views = {
            where: PartitionView(self._cluster.partition(where), self._group.position_of(where))
            for where in sorted(partitions)
        }
        await on_assigned({where: view.position for where, view in self._views.items()})
        self._is_rebalancing = False
        self._cluster.wake()

    async def _join(self) -> None:
        self.member_id = await self._group.join(self)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._cluster.session_timeout_s / _HEARTBEATS_A_SESSION)
            match self._group.heartbeat(self.member_id):
                case Heartbeat.OK:
                    self.membership.confirmed_at_s = self._cluster.clock.monotonic_s()
                case Heartbeat.UNKNOWN_MEMBER:  # it joins anew, as a client library does
                    self.membership.is_lost = True
                    await self.be_revoked()
                    await self._join()
                case Heartbeat.SILENCE:
                    pass

    def _told(self) -> tuple[OnAssigned, OnPartitions, OnPartitions]:
        assert self._callbacks is not None, "not started"
        return self._callbacks

    def _owned(self, partitions: Iterable[TopicPartition]) -> set[TopicPartition]:
        wanted = set(partitions)
        assert wanted <= set(self._views), f"{wanted - set(self._views)} not assigned"
        return wanted


class MemoryReader:
    """Reads partitions with no group."""

    def __init__(self, cluster: "MemoryCluster") -> None:
        """Prepare."""
        self._cluster = cluster
        self._views: dict[TopicPartition, PartitionView] = {}

    async def start(self, partitions: Iterable[TopicPartition]) -> None:
        """Stand at the end of each partition."""
        if not self._cluster.is_available:
            raise Unavailable("kafka", "no broker answers")
        for where in partitions:
            log = self._cluster.partition(where)
            self._views[where] = PartitionView(log, log.stable_end)

    async def seek_to_time(self, partition: TopicPartition, at_ms: int) -> None:
        """Stand at the first record of this time or later, or at the end."""
        self._views[partition].position = self._cluster.offset_at(partition, at_ms)

    async def seek(self, partition: TopicPartition, offset: int) -> None:
        """Stand at an offset."""
        self._views[partition].position = offset

    async def end_offsets(self) -> Mapping[TopicPartition, int]:
        """End of each partition."""
        return {where: view.log.stable_end for where, view in self._views.items()}

    async def position(self, partition: TopicPartition) -> int:
        """Offset of the next record it will hand out."""
        return self._views[partition].position

    async def poll(self, *, timeout_s: float, max_records: int) -> Polled:
        """Wait for records."""
        await asyncio.sleep(0)
        try:
            async with asyncio.timeout(timeout_s):
                while not (polled := self._take(max_records)):
                    await self._cluster.changed()
        except TimeoutError:
            if not self._cluster.is_available:
                raise Unavailable("kafka", "no broker answers") from None
            return {}
        return polled

    def _take(self, max_records: int) -> dict[TopicPartition, list[Raw]]:
        polled: dict[TopicPartition, list[Raw]] = {}
        if not self._cluster.is_available:
            return polled
        for where, view in self._views.items():
            if where.topic in self._cluster.unreadable:
                continue
            if view.is_out_of_range:
                view.position = view.log.start
            taken = list(view.take(max_records)) if max_records > 0 else []
            max_records -= len(taken)
            if taken:
                polled[where] = taken
        return polled

    async def stop(self) -> None:
        """Disconnect."""
        self._views.clear()


class MemoryProducer:
    """Writes records; keeps them while no broker answers."""

    def __init__(self, cluster: "MemoryCluster") -> None:
        """Prepare."""
        self._cluster = cluster
        self._kept: list[tuple[asyncio.Future[RecordMetadata], _Record]] = []
        self._flusher: asyncio.Task[None] | None = None
        self._is_dead = False

    async def start(self) -> None:
        """Connect."""
        if not self._cluster.is_available:
            raise Unavailable("kafka", "no broker answers")

    def partition_count(self, topic: str) -> int:
        """Number of partitions of a topic."""
        return self._cluster.topics[topic]

    async def send(
        self,
        topic: str,
        *,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
    ) -> "asyncio.Future[RecordMetadata]":
        """Hand over a record."""
        if is_oversize(topic, key, value, headers):
            raise PoisonRecord("oversize", f"{len(value or b'')} bytes for {topic}")
        assert 0 <= partition < self.partition_count(topic), f"{topic} has no {partition}"
        assert isinstance(headers, list), "aiokafka takes nothing else"
        if topic in self._cluster.unwritable:
            raise Unavailable("kafka", f"{topic} takes no records")
        if len(self._kept) >= _MAX_KEPT_RECORDS:
            await self._wait_for_room()
        future: asyncio.Future[RecordMetadata] = asyncio.get_running_loop().create_future()
        record = (topic, partition, key, value, tuple(headers))
        if self._is_dead:
            return future
        if self._cluster.is_available and not self._kept:
            self._write(future, record)
        else:
            self._kept.append((future, record))
            if self._flusher is None:
                self._flusher = asyncio.ensure_future(self._flush_when_possible())
        return future

    async def stop(self) -> None:
        """Disconnect."""
        self.die()

    def die(self) -> None:
        """End as with SIGKILL: what is kept is gone."""
        self._is_dead = True
        self._kept.clear()
        if self._flusher is not None:
            self._flusher.cancel()

    async def _wait_for_room(self) -> None:
        try:
            async with asyncio.timeout(_KEEP_S):
                while len(self._kept) >= _MAX_KEPT_RECORDS:
                    await self._cluster.changed()
        except TimeoutError:
            raise Unavailable("kafka", "no broker answers and enough is kept") from None

    async def _flush_when_possible(self) -> None:
        while not self._cluster.is_available:
            await self._cluster.changed()
        for future, record in self._kept:
            self._write(future, record)
        self._kept.clear()
        self._flusher = None
        self._cluster.wake()

    def _write(self, future: "asyncio.Future[RecordMetadata]", record: "_Record") -> None:
        cluster = self._cluster
        topic, partition, key, value, headers = record
        offset = cluster.append(topic, partition=partition, key=key, value=value, headers=headers)

        def acknowledge() -> None:
            if self._is_dead or future.done():
                return
            if cluster.acks_to_fail:
                cluster.acks_to_fail -= 1
                future.set_exception(Unavailable("kafka", "the answer was lost"))
            else:
                where = TopicPartition(topic, partition)
                future.set_result(RecordMetadata(topic, partition, where, offset, 0, 0, 0))

        asyncio.get_running_loop().call_later(cluster.ack_delay_s, acknowledge)


_Record = tuple[str, int, bytes | None, bytes | None, Headers]
