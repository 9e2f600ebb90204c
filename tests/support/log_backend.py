"""What the contract suite of the log and the runtime needs of a cluster, and the one in memory."""

import asyncio
import inspect
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol, cast

from services.shared.ports.clock import Clock
from services.shared.stream.client import Consumer, Log, Raw
from tests.support.fake_clock import clock_of_loop
from tests.support.memory_clients import MemoryConsumer
from tests.support.memory_log import MemoryCluster
from tests.support.memory_partition import Headers

SESSION_TIMEOUT_S = 2.0


class ProcessLog(Log, Protocol):
    """One process' connection to a cluster."""

    def kill(self) -> None:
        """End the process without a word, as SIGKILL does."""
        ...


class Transaction(Protocol):
    """Records of a transactional producer in one partition."""

    async def append(self, value: bytes) -> None:
        """Write a record."""
        ...

    async def commit(self) -> None:
        """End it; its records may be read."""
        ...

    async def abort(self) -> None:
        """End it; its records are holes."""
        ...


class LogBackend(ABC):
    """A cluster of a test's own.

    Attributes:
        clock: The time.
        session_timeout_s: Of its groups.
        look_every_s: How often ``until`` looks.
    """

    clock: Clock
    session_timeout_s = SESSION_TIMEOUT_S
    look_every_s = 0.02

    async def make_topic(self, topic: str, *, partitions: int = 1) -> None:
        """Make a topic."""
        await self.make_topics({topic: partitions})

    @abstractmethod
    async def make_topics(self, partitions: Mapping[str, int]) -> None:
        """Make topics with so many partitions."""

    @abstractmethod
    def connect(self) -> ProcessLog:
        """The connection of one more process."""

    @abstractmethod
    def connect_to_nobody(self) -> ProcessLog:
        """A connection to where no broker is."""

    @abstractmethod
    async def append(
        self,
        topic: str,
        value: bytes | None,
        *,
        partition: int = 0,
        key: bytes | None = None,
        headers: Headers = (),
        timestamp_ms: int | None = None,
    ) -> int:
        """Write a record as any producer might; returns its offset."""

    @abstractmethod
    async def begin(self, topic: str, *, partition: int = 0) -> Transaction:
        """Begin a transaction."""

    @abstractmethod
    async def truncate(self, topic: str, *, before: int, partition: int = 0) -> None:
        """Forget records, as retention does."""

    @abstractmethod
    async def records(self, topic: str) -> list[Raw]:
        """All committed records of a topic, partition by partition."""

    @abstractmethod
    async def committed(self, group: str, topic: str, *, partition: int = 0) -> int | None:
        """The offset that a group has committed."""

    @abstractmethod
    async def forget_member(self, consumer: Consumer) -> None:
        """Make the group's coordinator forget a member."""

    @abstractmethod
    def refusing(self, topic: str) -> AbstractAsyncContextManager[None]:
        """A topic takes no records, and has none, for the length of an ``async with`` block."""

    @abstractmethod
    def outage(self) -> AbstractAsyncContextManager[None]:
        """The broker answers nobody for the length of an ``async with`` block."""

    @abstractmethod
    def restart(self) -> AbstractAsyncContextManager[None]:
        """The broker is dead for the length of an ``async with`` block."""

    async def until(
        self, condition: Callable[[], bool | Awaitable[bool]], *, timeout_s: float = 20.0
    ) -> None:
        """Wait for something to become true; fails when it does not."""
        until_s = self.clock.monotonic_s() + timeout_s
        while not await _truth(condition()):
            assert self.clock.monotonic_s() < until_s, inspect.getsource(condition).strip()
            await asyncio.sleep(self.look_every_s)


async def _truth(answer: bool | Awaitable[bool]) -> bool:  # noqa: FBT001  # the one fact
    return answer if isinstance(answer, bool) else await answer


class MemoryBackend(LogBackend):
    """The cluster in memory, on the running loop's fake time."""

    def __init__(self) -> None:
        """Start without topics."""
        self.clock = clock_of_loop()
        self.cluster = MemoryCluster(
            clock_of_loop(), topics={}, session_timeout_s=self.session_timeout_s
        )

    async def make_topics(self, partitions: Mapping[str, int]) -> None:
        """Make topics."""
        for topic, count in partitions.items():
            self.cluster.make_topic(topic, partitions=count)

    def connect(self) -> ProcessLog:
        """The connection of one more process."""
        return self.cluster.log()

    def connect_to_nobody(self) -> ProcessLog:
        """A connection to a cluster that is down."""
        cluster = MemoryCluster(clock_of_loop(), topics=self.cluster.topics)
        cluster.stop_broker()
        return cluster.log()

    async def append(
        self,
        topic: str,
        value: bytes | None,
        *,
        partition: int = 0,
        key: bytes | None = None,
        headers: Headers = (),
        timestamp_ms: int | None = None,
    ) -> int:
        """Write a record."""
        return self.cluster.append(
            topic,
            partition=partition,
            key=key,
            value=value,
            headers=headers,
            timestamp_ms=timestamp_ms,
        )

    async def begin(self, topic: str, *, partition: int = 0) -> Transaction:
        """Begin a transaction."""
        transaction = self.cluster.begin(topic, partition)

        class Begun:
            async def append(self, value: bytes) -> None:
                transaction.append(value)

            async def commit(self) -> None:
                transaction.commit()

            async def abort(self) -> None:
                transaction.abort()

        return Begun()

    async def truncate(self, topic: str, *, before: int, partition: int = 0) -> None:
        """Forget records."""
        self.cluster.truncate(topic, before=before, partition=partition)

    async def records(self, topic: str) -> list[Raw]:
        """All committed records of a topic."""
        return sorted(self.cluster.records(topic), key=lambda raw: (raw.partition, raw.offset))

    async def committed(self, group: str, topic: str, *, partition: int = 0) -> int | None:
        """The offset that a group has committed."""
        return self.cluster.committed(group, topic, partition)

    async def forget_member(self, consumer: Consumer) -> None:
        """Make the group's coordinator forget a member."""
        cast("MemoryConsumer", consumer).be_forgotten()

    @asynccontextmanager
    async def refusing(self, topic: str) -> AsyncIterator[None]:
        """A topic takes no records."""
        self.cluster.unwritable.add(topic)
        yield
        self.cluster.unwritable.discard(topic)

    def restart(self) -> AbstractAsyncContextManager[None]:
        """The broker is dead."""
        return self.outage()

    @asynccontextmanager
    async def outage(self) -> AsyncIterator[None]:
        """The broker answers nobody."""
        self.cluster.stop_broker()
        yield
        self.cluster.start_broker()
