"""A consumer group in memory: eager rebalances, static members, sessions that time out."""

import asyncio
from collections.abc import Mapping
from enum import Enum
from itertools import count
from typing import TYPE_CHECKING

from aiokafka.structs import TopicPartition

from services.shared.domain.errors import Unavailable

if TYPE_CHECKING:
    from tests.support.memory_clients import MemoryConsumer
    from tests.support.memory_log import MemoryCluster


class Heartbeat(Enum):
    """What a coordinator answers."""

    OK = "ok"
    UNKNOWN_MEMBER = "unknown member"
    SILENCE = "no answer"


class _Member:
    """A member as the coordinator sees it."""

    def __init__(self, member_id: int, consumer: "MemoryConsumer", *, now_s: float) -> None:
        self.member_id = member_id
        self.consumer = consumer
        self.assignment: frozenset[TopicPartition] = frozenset()
        self.heard_at_s = now_s


class MemoryGroup:
    """A group; ``committed`` are its offsets."""

    def __init__(self, cluster: "MemoryCluster") -> None:
        """Start without members."""
        self.committed: dict[TopicPartition, int] = {}
        self._cluster = cluster
        self._members: dict[int, _Member] = {}
        self._ids = count(1)
        self._lock = asyncio.Lock()
        self._is_due = False
        self._watch: asyncio.Task[None] | None = None

    # -- what members do -------------------------------------------------------------------------

    async def join(self, consumer: "MemoryConsumer") -> int:
        """Take a member in; returns its id once it has its partitions."""
        member = _Member(next(self._ids), consumer, now_s=self._now_s())
        if self._watch is None:
            self._watch = self._cluster.start_task(self._expire_regularly())
        predecessor = self._predecessor(consumer)
        if predecessor is not None:
            async with self._lock:
                del self._members[predecessor.member_id]
                self._members[member.member_id] = member
                member.assignment = predecessor.assignment
                consumer.member_id = member.member_id
                await consumer.be_assigned(member.assignment)
        else:
            self._members[member.member_id] = member
            consumer.member_id = member.member_id
            self._is_due = True
            await self._rebalance()
        return member.member_id

    async def leave(self, member_id: int) -> None:
        """Let a member go; a static one keeps its place until its session is over."""
        member = self._members.get(member_id)
        if member is not None and member.consumer.instance_id is None:
            self._lose(member_id)

    def heartbeat(self, member_id: int) -> Heartbeat:
        """Answer a heartbeat."""
        if not self._answers():
            return Heartbeat.SILENCE
        member = self._members.get(member_id)
        if member is None:
            return Heartbeat.UNKNOWN_MEMBER
        member.heard_at_s = self._now_s()
        return Heartbeat.OK

    def commit(self, member_id: int, offsets: Mapping[TopicPartition, int]) -> None:
        """Keep offsets.

        Raises:
            Unavailable: Nobody answers, or the member is unknown.
        """
        if not self._answers():
            raise Unavailable("kafka", "the group coordinator does not answer")
        member = self._members.get(member_id)
        if member is None or not set(offsets) <= member.assignment:
            raise Unavailable("kafka", "the group has rebalanced")
        self.committed.update(offsets)

    def position_of(self, where: TopicPartition) -> int:
        """Where a new owner of a partition goes on."""
        return self.committed.get(where, self._cluster.partition(where).start)

    # -- what a test does ------------------------------------------------------------------------

    def forget(self, member_id: int) -> None:
        """Know a member no more, as after a session timeout; it learns that by its heartbeat."""
        self._lose(member_id)

    def renew_sessions(self) -> None:
        """Start every session anew, as a coordinator does when it comes back."""
        for member in self._members.values():
            member.heard_at_s = self._now_s()

    @property
    def assignments(self) -> list[frozenset[TopicPartition]]:
        """What each member owns, oldest member first."""
        return [member.assignment for member in self._members.values()]

    # -- the coordinator's own -------------------------------------------------------------------

    def _lose(self, member_id: int) -> None:
        del self._members[member_id]
        self._is_due = bool(self._members)
        self._cluster.wake()
        self._cluster.start_task(self._rebalance())

    async def _rebalance(self) -> None:
        """Take every partition from everybody, then deal them out anew (eager)."""
        async with self._lock:
            if not self._is_due:
                return
            self._is_due = False
            await asyncio.gather(*(m.consumer.be_revoked() for m in self._members.values()))
            while any(m.consumer.is_dead for m in self._members.values()):
                await self._cluster.changed()  # it does not rejoin; its session must end first
            members = list(self._members.values())
            topics = {m.consumer.topic for m in members}
            everything = [p for topic in sorted(topics) for p in self._cluster.partitions_of(topic)]
            for i, member in enumerate(members):
                member.assignment = frozenset(everything[i :: len(members)])
                member.heard_at_s = self._now_s()
            await asyncio.gather(*(m.consumer.be_assigned(m.assignment) for m in members))
        self._cluster.wake()

    def _predecessor(self, consumer: "MemoryConsumer") -> _Member | None:
        if consumer.instance_id is None:
            return None
        for member in self._members.values():
            if member.consumer.instance_id == consumer.instance_id:
                return member
        return None

    async def _expire_regularly(self) -> None:
        timeout_s = self._cluster.session_timeout_s
        while self._members:
            await asyncio.sleep(timeout_s / 20)
            if not self._answers():
                self.renew_sessions()  # whoever did not listen has heard nobody out
                continue
            # Whoever joins waits for the rebalance and is heard when he has his partitions.
            silent = [
                m
                for m in self._members.values()
                if self._now_s() - m.heard_at_s > timeout_s
                and (m.consumer.is_dead or not self._lock.locked())
            ]
            for member in silent:
                self._lose(member.member_id)
        self._watch = None

    def _answers(self) -> bool:
        return self._cluster.is_available and not self._cluster.is_coordinator_silent

    def _now_s(self) -> float:
        return self._cluster.clock.monotonic_s()
