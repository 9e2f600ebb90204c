"""The way out: encodes, signs off with headers, produces, and reports acknowledgements.

A process that may have lost its partitions must not write. Two signs are watched: the process
stood still for longer than a session timeout (``Fence.tick`` was late), and a coordinator that no
longer confirms a membership. The first and a lost membership end the process; a silent coordinator
makes it wait until it hears again.
"""

import asyncio
from collections.abc import Callable, Sequence

from aiokafka.structs import RecordMetadata

from services.shared.codec.headers import CRC32C, Headers, checksum, headers_of_request
from services.shared.codec.records import encode_record
from services.shared.domain.emit import Emit
from services.shared.domain.errors import MustStop
from services.shared.domain.ids import partition_for
from services.shared.ports.clock import Clock
from services.shared.stream.client import Membership, Producer

_RECHECK_S = 0.1


class Fence:
    """Whether this process may write."""

    def __init__(self, *, clock: Clock, session_timeout_s: float) -> None:
        self._clock = clock
        self._session_timeout_s = session_timeout_s
        self._members: list[Membership] = []
        self._ticked_at_s = clock.monotonic_s()

    def watch(self, member: Membership) -> None:
        """Writes depend on this membership from now on."""
        self._members.append(member)

    @property
    def silence_s(self) -> float:
        """Time since the last tick, seconds."""
        return self._clock.monotonic_s() - self._ticked_at_s

    def tick(self) -> None:
        """Say that the event loop is alive; called a few times a second.

        Raises:
            MustStop: It stood still for longer than a session timeout.
        """
        self._check_pause()
        self._ticked_at_s = self._clock.monotonic_s()

    async def pass_through(self) -> None:
        """Return when the process may write.

        Raises:
            MustStop: Somebody else may own its partitions. Not retriable.
        """
        self._check_pause()
        for member in self._members:
            if member.is_lost:
                raise MustStop("the group coordinator does not know this member any more")
            while self._is_silent(member):
                await asyncio.sleep(_RECHECK_S)
                if member.is_lost:
                    raise MustStop("the group coordinator does not know this member any more")

    def _check_pause(self) -> None:
        stood_still_s = self.silence_s
        if stood_still_s > self._session_timeout_s:
            raise MustStop(f"the process stood still for {stood_still_s:.1f} s")

    def _is_silent(self, member: Membership) -> bool:
        return self._clock.monotonic_s() - member.confirmed_at_s > self._session_timeout_s


class Outbox:
    """All records that a process writes go through here."""

    def __init__(
        self,
        *,
        service: str,
        producer: Producer,
        clock: Clock,
        fence: Fence,
        on_fatal: Callable[[MustStop], None],
    ) -> None:
        self.service = service
        self.clock = clock
        self._producer = producer
        self._fence = fence
        self.give_up = on_fatal

    async def send(self, emit: Emit, *, on_acknowledged: Callable[[], None]) -> None:
        """Encode and produce one record.

        Raises:
            PoisonRecord: It is larger than the log takes.
            MustStop: This process may not write any more.
        """
        value = encode_record(emit.event)
        headers: Headers = [] if emit.request is None else headers_of_request(emit.request)
        headers.append((CRC32C, checksum(value)))
        await self.send_raw(
            emit.topic,
            partition=self._partition(emit),
            key=emit.key.encode(),
            value=value,
            headers=headers,
            on_acknowledged=on_acknowledged,
        )

    async def send_raw(
        self,
        topic: str,
        *,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]],
        on_acknowledged: Callable[[], None],
    ) -> None:
        """Produce bytes as they are; dead letters and tombstones go this way."""
        await self._fence.pass_through()
        future = await self._producer.send(
            topic, partition=partition, key=key, value=value, headers=headers
        )

        def settled(done: asyncio.Future[RecordMetadata]) -> None:
            if done.cancelled() or done.exception() is not None:
                # What became of the record is unknown: a fresh process reads it again.
                error = "cancelled" if done.cancelled() else repr(done.exception())
                self.give_up(MustStop(f"a record for {topic} was not acknowledged: {error}"))
            else:
                on_acknowledged()

        future.add_done_callback(settled)

    def _partition(self, emit: Emit) -> int:
        if emit.partition is not None:
            return emit.partition
        return partition_for(emit.key, self._producer.partition_count(emit.topic))
