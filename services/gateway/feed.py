"""One partition of ``result-chunks``, read for all who follow requests there.

Who begins to follow is *read up*: a cursor goes back to where the first of them has to begin, and
reads for all of them at once. When it has reached what the *tail*, the reader of what is new, has
read, they go over to the tail in one step, so that no chunk is lost or doubled at the seam. Whoever
does not take what he is given falls out, and is read up again when he has.
"""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress

from services.gateway.waiter import CUT, Facts, Place, Waiter
from services.shared.codec.headers import DEADLINE, STREAM, TENANT
from services.shared.codec.records import decode_record
from services.shared.domain.errors import PoisonRecord, Unavailable
from services.shared.domain.events import ResultChunk
from services.shared.ports.chunk_cursors import ChunkCursor, ChunkCursors, ChunkRecord

_LOG = logging.getLogger(__name__)
IDLE_S = 10.0
"""How long a partition that nobody follows stays open."""

_RETRY_S = 0.2
_TURNS_TO_TAKE = 3


def put_record(waiter: Waiter, record: ChunkRecord) -> None:
    """Put the chunk that a record holds; one that cannot be read ends the answer."""
    try:
        chunk = decode_record(record.value or b"", ResultChunk)
    except PoisonRecord as poison:
        _LOG.error("a chunk cannot be read", extra={"reason": poison.reason})
        waiter.end(CUT)
    else:
        waiter.put(chunk, Place(record.partition, record.offset, record.timestamp))


def facts_of(headers: Sequence[tuple[str, bytes]]) -> Facts:
    """What a chunk's headers say of its request."""
    found = dict(headers)
    deadline_at = found.get(DEADLINE, b"")
    return Facts(
        tenant=found.get(TENANT, b"").decode(errors="replace"),
        deadline_at=int(deadline_at) if deadline_at.isdigit() else 0,
        is_streamed=STREAM in found,
    )


class Follower:
    """One request that is followed for one waiter.

    Attributes:
        key: The request's id, as the records have it.
        waiter: Who gets its chunks.
        from_ms: When its first chunk may have been written at the earliest, unix ms.
        is_leader: Whether it is not the waiter's own request but the one that this one joined.
        kept_since_ms: A stream that began before has expired, whatever is left of it, unix ms.
        position: Offset of the first record that is still to be given; -1 = not known yet.
        group: Where it stands; None = it gets nothing now.
        has_left: Nobody wants it any more.
    """

    __slots__ = (
        "from_ms",
        "group",
        "has_left",
        "is_leader",
        "kept_since_ms",
        "key",
        "position",
        "waiter",
    )

    def __init__(
        self, waiter: Waiter, key: str, *, from_ms: int, is_leader: bool, kept_since_ms: float
    ) -> None:
        self.key = key.encode()
        self.waiter = waiter
        self.from_ms = from_ms
        self.is_leader = is_leader
        self.kept_since_ms = kept_since_ms
        self.position = -1
        self.group: Followers | None = None
        self.has_left = False

    def leave(self) -> None:
        """Get no more."""
        self.has_left = True
        if self.group is not None:
            self.group.remove(self)

    def take(self, record: ChunkRecord) -> None:
        """Give the waiter a record, unless it had it."""
        if record.offset < self.position:
            return
        self.position = record.offset + 1
        if self.waiter.facts is None and not self.is_leader:
            self.waiter.know(facts_of(record.headers))
            if record.timestamp < self.kept_since_ms:  # segments go later than their records may
                self.waiter.expire()
        put_record(self.waiter, record)


class Followers:
    """Followers by request."""

    def __init__(self) -> None:
        """Start with none."""
        self._by_key: dict[bytes | None, list[Follower]] = {}

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._by_key)

    def __iter__(self) -> Iterator[Follower]:
        """All of them, as of now."""
        return iter([follower for group in self._by_key.values() for follower in group])

    def of(self, key: bytes | None) -> tuple[Follower, ...]:
        """Those of a request, as of now."""
        return tuple(self._by_key.get(key, ()))

    def add(self, follower: Follower) -> None:
        """Move one here."""
        if follower.group is not None:
            follower.group.remove(follower)
        follower.group = self
        self._by_key.setdefault(follower.key, []).append(follower)

    def remove(self, follower: Follower) -> None:
        """Take one out."""
        follower.group = None
        group = self._by_key[follower.key]
        group.remove(follower)
        if not group:
            del self._by_key[follower.key]


class Feed:
    """The followers of one partition and its readers, which are closed when nobody follows."""

    def __init__(self, log: ChunkCursors, partition: int, *, live_from: int | None = None) -> None:
        """Read nothing yet.

        Args:
            log: Where to read.
            partition: Which partition.
            live_from: Who made this calls ``deliver`` with every record from this offset on; None:
                nobody does.
        """
        self._log = log
        self._partition = partition
        self._is_fed = live_from is not None
        self._live_position = live_from or 0
        self._waiting, self._reading, self._live = Followers(), Followers(), Followers()
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def follow(self, follower: Follower) -> None:
        """Give a follower its records, from its position on."""
        if follower.has_left:
            return
        self._waiting.add(follower)
        self._news.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    def deliver(self, record: ChunkRecord) -> None:
        """Take the next new record."""
        self._live_position = record.offset + 1
        for follower in self._live.of(record.key):
            if follower.waiter.is_full:
                self._park(follower, record)
            else:
                follower.take(record)

    async def close(self) -> None:
        """Read no more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while self._waiting:
            try:
                cursor = await self._log.open(self._partition)
            except Unavailable as error:
                await self._wait_for_broker(error)
                continue
            try:
                await self._serve(cursor)
            finally:
                await cursor.close()

    async def _serve(self, cursor: ChunkCursor) -> None:
        """Read up whoever comes until nobody has followed for a while."""
        if self._is_fed:
            await self._read_up_all(cursor)
            return
        try:
            tail = await self._log.open(self._partition)
        except Unavailable as error:
            await self._wait_for_broker(error)
            return
        following = None
        try:
            self._live_position = await tail.position()
            following = asyncio.create_task(self._follow_tail(tail))
            await self._read_up_all(cursor)
        finally:
            if following is not None:
                following.cancel()
                with suppress(asyncio.CancelledError):
                    await following
            await tail.close()

    async def _read_up_all(self, cursor: ChunkCursor) -> None:
        while True:
            self._news.clear()
            if not self._waiting:
                try:
                    async with asyncio.timeout(IDLE_S):
                        await self._news.wait()
                except TimeoutError:
                    if self._is_fed or not self._live:
                        return
                continue
            try:
                await self._read_up(cursor)
            except Unavailable as error:
                for follower in self._reading:
                    self._waiting.add(follower)
                await self._wait_for_broker(error)

    async def _read_up(self, cursor: ChunkCursor) -> None:
        """Read for all who wait from where the first of them begins to where the tail is."""
        for follower in self._waiting:
            self._reading.add(follower)
        await self._go_back(cursor)
        # Whatever a reader has seen of a stream, on whatever instance, lies before this.
        end = await cursor.end()
        while self._reading:
            if await cursor.position() >= max(end, self._live_position):
                for follower in self._reading:
                    if follower.has_left:  # since: one before it had it so
                        continue
                    self._live.add(follower)
                    follower.waiter.caught_up(with_leader=follower.is_leader)
                return
            for record in await cursor.read():
                for follower in self._reading.of(record.key):
                    await self._give(follower, record)
            await asyncio.sleep(0)  # records may be there at once, for as long as there are any

    async def _go_back(self, cursor: ChunkCursor) -> None:
        new = [follower for follower in self._reading if follower.position < 0]
        if new:
            first = await cursor.seek_to_time(min(follower.from_ms for follower in new))
            for follower in new:
                follower.position = first
        if self._reading:
            await cursor.seek(min(follower.position for follower in self._reading))

    async def _give(self, follower: Follower, record: ChunkRecord) -> None:
        for _ in range(_TURNS_TO_TAKE):
            if not follower.waiter.is_full:
                break
            await asyncio.sleep(0)  # a client that reads takes all that waits in one turn
        if follower.group is not self._reading:
            return
        if follower.waiter.is_full:
            self._park(follower, record)
        else:
            follower.take(record)

    def _park(self, follower: Follower, record: ChunkRecord) -> None:
        if follower.group is not None:
            follower.group.remove(follower)
        follower.position = max(follower.position, record.offset)
        follower.waiter.fell_behind(with_leader=follower.is_leader)
        follower.waiter.when_there_is_room(lambda: self.follow(follower))

    async def _follow_tail(self, tail: ChunkCursor) -> None:
        while True:
            try:
                for record in await tail.read():
                    self.deliver(record)
            except Unavailable as error:
                await self._wait_for_broker(error)

    async def _wait_for_broker(self, error: Unavailable) -> None:
        _LOG.warning("chunks cannot be read", extra={"why": str(error)})
        await asyncio.sleep(_RETRY_S)
