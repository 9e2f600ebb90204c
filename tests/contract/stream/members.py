"""A consumer with everything that it was told, for tests of the log itself."""

import asyncio
from collections.abc import Iterable, Mapping

from services.shared.domain.errors import Unavailable
from services.shared.stream.client import Consumer, Raw, TopicPartition
from tests.support.log_backend import LogBackend, ProcessLog

TOPIC = "things"
GROUP = "readers"
_POLL_S = 0.05


class Member:
    """A member of a group.

    Attributes:
        log: Its process' connection.
        consumer: The consumer.
        told: ``assigned``, ``revoked`` and ``reset`` with the partitions, in order.
        taken: The records it was handed, in order.
    """

    def __init__(self, backend: LogBackend, *, instance_id: str | None = None) -> None:
        """Prepare; ``join`` joins."""
        self.log: ProcessLog = backend.connect()
        self.consumer: Consumer = self.log.consumer(
            topic=TOPIC, group=GROUP, instance_id=instance_id
        )
        self.told: list[tuple[str, frozenset[int]]] = []
        self.positions: dict[int, int] = {}
        self.taken: list[Raw] = []
        self.to_commit_on_revoke: dict[TopicPartition, int] = {}

    async def join(self) -> "Member":
        """Join the group."""
        await self.consumer.start(
            on_assigned=self._assigned, on_revoked=self._revoked, on_reset=self._reset
        )
        return self

    async def poll(self, *, max_records: int = 1000, timeout_s: float = _POLL_S) -> list[Raw]:
        """Poll once, for a moment."""
        try:
            polled = await self.consumer.poll(timeout_s=timeout_s, max_records=max_records)
        except Unavailable:
            return []
        new = [raw for where in sorted(polled) for raw in polled[where]]
        self.taken += new
        return new

    async def take(self, count: int, *, timeout_s: float = 20.0) -> list[bytes | None]:
        """Poll until that many records were handed out; returns their values."""
        async with asyncio.timeout(timeout_s):
            while len(self.taken) < count:
                await self.poll()
        return [raw.value for raw in self.taken]

    async def poll_for(self, seconds: float) -> list[bytes | None]:
        """Poll for a while; returns the values that came."""
        before = len(self.taken)
        until_s = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < until_s:
            await self.poll()
        return [raw.value for raw in self.taken[before:]]

    @property
    def owned(self) -> set[int]:
        """The partitions that it owns."""
        return {where.partition for where in self.consumer.assignment()}

    async def _assigned(self, positions: Mapping[TopicPartition, int]) -> None:
        self.told.append(("assigned", _numbers(positions)))
        self.positions = {where.partition: offset for where, offset in positions.items()}
        self.consumer.resume(positions)

    async def _revoked(self, partitions: frozenset[TopicPartition]) -> None:
        self.told.append(("revoked", _numbers(partitions)))
        if self.to_commit_on_revoke:
            await self.consumer.commit(self.to_commit_on_revoke)

    async def _reset(self, partitions: frozenset[TopicPartition]) -> None:
        self.told.append(("reset", _numbers(partitions)))


def place(partition: int = 0) -> TopicPartition:
    """A partition of the topic."""
    return TopicPartition(TOPIC, partition)


def _numbers(partitions: Iterable[TopicPartition]) -> frozenset[int]:
    return frozenset(where.partition for where in partitions)
