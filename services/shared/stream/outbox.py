"""The way out: encodes, signs off with headers, produces, and reports acknowledgements.

A process that may have lost its partitions must not write. Two signs are watched: the process
stood still for longer than a session timeout (``Fence.tick`` was late), and a coordinator that no
longer confirms a membership. The first and a lost membership end the process; a silent coordinator
makes it wait until it hears again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial

from aiokafka.structs import RecordMetadata

from services.shared.codec.headers import (
    CRC32C,
    Headers,
    checksum,
    headers_of_delay,
    headers_of_request,
)
from services.shared.codec.records import encode_record
from services.shared.domain.emit import Emit
from services.shared.domain.errors import MustStop, Unavailable
from services.shared.domain.ids import partition_for
from services.shared.domain.topics import BATCH_TOPICS, RETRY_TOPICS, Topic
from services.shared.ports.clock import Clock
from services.shared.stream.backoff import backoff_s
from services.shared.stream.client import Membership, Producer, Raw

_LOG = logging.getLogger(__name__)
_RECHECK_S = 0.1

SAME_PARTITION = frozenset(
    {
        Topic.CACHE_MISSES,
        Topic.ROUTED_REQUESTS,
        *BATCH_TOPICS,
        *RETRY_TOPICS,
        Topic.MODEL_CALL_ATTEMPTS,
    }
)
"""Topics on which a request keeps its partition; they have equally many."""


class Fence:
    """Whether this process may write."""

    def __init__(self, *, clock: Clock, session_timeout_s: float) -> None:
        """Start open."""
        self._clock = clock
        self._session_timeout_s = session_timeout_s
        self._members: list[Membership] = []
        self._ticked_at_s = clock.monotonic_s()
        self._broken: MustStop | None = None

    def watch(self, member: Membership) -> None:
        """Writes depend on this membership from now on."""
        self._members.append(member)

    def forget(self, member: Membership) -> None:
        """Writes depend on it no more: it is about to be given up on purpose.

        Raises:
            MustStop: It was lost before. Not retriable.
        """
        self._check()
        self._members.remove(member)

    def shut(self, why: MustStop) -> None:
        """Let nothing through any more."""
        if self._broken is None:
            self._broken = why

    @property
    def silence_s(self) -> float:
        """Time since the last tick, seconds."""
        return self._clock.monotonic_s() - self._ticked_at_s

    def tick(self) -> None:
        """Say that the event loop is alive; called a few times a second.

        Raises:
            MustStop: It stood still for longer than a session timeout, or a membership is lost.
        """
        self._check()
        self._ticked_at_s = self._clock.monotonic_s()

    def is_open(self) -> bool:
        """Whether the process may write now, as ``pass_through`` would say without waiting."""
        oldest_s = self._clock.monotonic_s() - self._session_timeout_s
        if self._broken is not None or self._ticked_at_s < oldest_s:
            return False
        return all(not m.is_lost and m.confirmed_at_s >= oldest_s for m in self._members)

    async def pass_through(self) -> None:
        """Return when the process may write.

        Raises:
            MustStop: Somebody else may own its partitions. Not retriable.
        """
        self._check()
        while not self.is_open():
            await asyncio.sleep(_RECHECK_S)
            self._check()

    def _check(self) -> None:
        if self._broken is None and (stood_still_s := self.silence_s) > self._session_timeout_s:
            self._broken = MustStop(f"the process stood still for {stood_still_s:.1f} s")
        if self._broken is None and any(member.is_lost for member in self._members):
            self._broken = MustStop("the group coordinator does not know this member any more")
        if self._broken is not None:
            raise self._broken


class Outbox:
    """All records that a process writes go through here."""

    def __init__(
        self,
        *,
        service: str,
        producer: Producer,
        clock: Clock,
        fence: Fence,
        on_fatal: Callable[[Exception], None],
    ) -> None:
        """Write with a connected producer; ``on_fatal`` is told when the process must end."""
        self.service = service
        self.clock = clock
        self._producer = producer
        self._fence = fence
        self._on_fatal = on_fatal

    def give_up(self, why: Exception) -> None:
        """End the process: nothing is written any more."""
        self._fence.shut(why if isinstance(why, MustStop) else MustStop(repr(why)))
        self._on_fatal(why)

    def partition_count(self, topic: str) -> int:
        """Number of partitions of a topic."""
        return self._producer.partition_count(topic)

    async def send(
        self, emit: Emit, *, on_acknowledged: Callable[[], None], source: Raw | None = None
    ) -> "asyncio.Future[RecordMetadata]":
        """Encode and produce one record; waits while no broker answers.

        The future says where it was written; when it fails, the process has been told to end.

        Args:
            emit: What to write.
            on_acknowledged: Called when it is durable.
            source: The record that it comes from, whose partition it may keep.

        Raises:
            PoisonRecord: It is larger than the log takes.
            MustStop: This process may not write any more.
        """
        value = emit.value or encode_record(emit.event)
        headers: Headers = [] if emit.request is None else headers_of_request(emit.request)
        if emit.delay is not None:
            headers += headers_of_delay(emit.delay)
        headers.append((CRC32C, checksum(value)))
        return await self.send_raw(
            emit.topic,
            partition=self._partition(emit, source),
            key=emit.key.encode(),
            value=value,
            headers=headers,
            on_acknowledged=on_acknowledged,
        )

    async def send_raw(  # noqa: PLR0913  # a record has these parts
        self,
        topic: str,
        *,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        on_acknowledged: Callable[[], None],
    ) -> "asyncio.Future[RecordMetadata]":
        """Produce bytes as they are; dead letters and tombstones go this way."""
        attempt = 0
        while True:
            await self._await_permission()
            try:
                future = await self._producer.send(
                    topic, partition=partition, key=key, value=value, headers=headers
                )
            except Unavailable as error:
                _LOG.warning("cannot write", extra={"topic": topic, "why": str(error)})
                await asyncio.sleep(backoff_s(attempt))
                attempt += 1
            else:
                future.add_done_callback(partial(self._settled, topic, on_acknowledged))
                return future

    async def send_and_wait(self, emit: Emit) -> None:
        """Produce one record and wait until it is durable."""
        await _acknowledgement(partial(self.send, emit))

    async def send_raw_and_wait(
        self,
        topic: str,
        *,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
    ) -> None:
        """Produce bytes as they are and wait until they are durable."""
        await _acknowledgement(
            partial(
                self.send_raw, topic, partition=partition, key=key, value=value, headers=headers
            )
        )

    async def _await_permission(self) -> None:
        if not self._fence.is_open():
            try:
                await self._fence.pass_through()
            except MustStop as error:
                self.give_up(error)
                raise

    def _settled(
        self,
        topic: str,
        on_acknowledged: Callable[[], None],
        done: "asyncio.Future[RecordMetadata]",
    ) -> None:
        if done.cancelled() or done.exception() is not None:
            # What became of the record is unknown: a fresh process reads it again.
            error = "cancelled" if done.cancelled() else repr(done.exception())
            self.give_up(MustStop(f"a record for {topic} was not acknowledged: {error}"))
        else:
            on_acknowledged()

    def _partition(self, emit: Emit, source: Raw | None) -> int:
        if emit.partition is not None:
            return emit.partition
        if source is not None and emit.topic in SAME_PARTITION and source.topic in SAME_PARTITION:
            return source.partition
        return partition_for(emit.key, self._producer.partition_count(emit.topic))


async def _acknowledgement(send: Callable[..., Awaitable[object]]) -> None:
    acknowledged = asyncio.Event()
    await send(on_acknowledged=acknowledged.set)
    await acknowledged.wait()
