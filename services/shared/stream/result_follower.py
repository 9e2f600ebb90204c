"""Tells a stage how requests end that are not in its hands any more.

It follows ``inference-results`` without a group and looks at keys alone: a record that nobody
asked for costs its fetch. Requests that were on their way before this process began to follow are
found in ``cache-misses`` less ``inference-results``, in the background.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Mapping, Sequence, Set
from contextlib import asynccontextmanager
from typing import Protocol

from services.shared.codec.records import decode_record
from services.shared.domain.errors import PoisonRecord, Unavailable
from services.shared.domain.events import CacheMissed
from services.shared.domain.topics import Topic
from services.shared.ports.clock import Clock
from services.shared.stream.background import BackgroundTasks
from services.shared.stream.client import Log, Raw, Reader, TopicPartition
from services.shared.stream.reading import FromTime, first_timestamps, read_to_end
from services.shared.stream.stage import Tools

_LOG = logging.getLogger(__name__)
_POLL_S = 1.0
_FOLLOW_RECORDS = 2_000
_LOOK_BACK_RECORDS = 200  # some ms, then others have their turn
_UNHURRIED_S = 0.1
_HURRIED_S = 0.01
"""Rests between two polls: a poll costs a hundred times what a record in it costs."""

_RETRY_S = 0.2
HORIZON_MS = 120_000
"""How far back requests are looked for that are still on their way."""

_LONGEST_MS = 600_000
"""How far back ends are looked for, however old the records are that wait."""

_OVERLAP_MS = 5_000
"""How far a second look goes back behind the start of the one before."""

_SKEW_MS = 10_000
"""How far the clocks of brokers and of stages may be apart: an end must not be missed for it."""


class Listener(Protocol):
    """Wants to know how requests end."""

    @property
    def leaders(self) -> Container[bytes]:
        """Keys of the results that it wants."""
        ...

    @property
    def is_anybody_waiting(self) -> asyncio.Event:
        """Set while it wants them at once; otherwise half a second later does."""
        ...

    async def ended(self, key: bytes, value: bytes) -> None:
        """Take a result."""
        ...

    def over(self, keys: Set[bytes]) -> None:
        """Take the keys of results that records of before may have had."""
        ...

    def found(self, missed: Sequence[CacheMissed]) -> None:
        """Take requests that are on their way to a model."""
        ...


class ResultFollower:
    """Follows the results for one listener."""

    def __init__(
        self,
        log: Log,
        listener: Listener,
        *,
        partition_count: Callable[[str], int],
        clock: Clock,
    ) -> None:
        """Prepare.

        Args:
            log: The log.
            listener: Who wants to know.
            partition_count: Number of partitions of a topic.
            clock: The time.
        """
        self._log = log
        self._listener = listener
        self._places = {
            topic: [TopicPartition(topic, i) for i in range(partition_count(topic))]
            for topic in (Topic.INFERENCE_RESULTS, Topic.CACHE_MISSES)
        }
        self._clock = clock
        self._is_following = asyncio.Event()
        self._ended_meanwhile: set[bytes] | None = None
        self._looked_back_at_ms = float("-inf")
        self._is_to_look = asyncio.Event()
        self._is_to_look.set()

    async def follow(self) -> None:
        """Hand on results until cancelled; a broker that is away is waited for."""
        reader = await self._started(self._places[Topic.INFERENCE_RESULTS])
        self._is_following.set()
        try:
            while True:
                await self._hand_on(reader)
                await self._rest()
        finally:
            await reader.stop()

    async def look_back(self) -> None:
        """Find the requests that are on their way; a second time, those since the first.

        Raises:
            Unavailable: No broker answers. Retriable.
        """
        began_ms = self._clock.now_ms()
        since_ms = int(max(began_ms - HORIZON_MS, self._looked_back_at_ms - _OVERLAP_MS))
        reader = self._log.reader()
        try:
            await reader.start([place for places in self._places.values() for place in places])
            await self._is_following.wait()  # an end after those that are read here is not missed
            over = self._ended_meanwhile = set()
            running = await self._running(reader, since_ms, over)
            if running:
                _LOG.info("requests are on their way already", extra={"requests": len(running)})
            self._listener.found(running)
        finally:
            self._ended_meanwhile = None
            await reader.stop()
        self._looked_back_at_ms = began_ms

    async def find_ends(self, positions: Mapping[TopicPartition, int]) -> None:
        """Find which of the records from these positions on may have their results already.

        They were in work elsewhere, and their results are no older than they are. Also looks back
        soon.

        Args:
            positions: Partitions that have come, and where they are consumed from.

        Raises:
            Unavailable: No broker answers. Retriable.
        """
        if not positions:
            return
        self._is_to_look.set()
        appended_ms = (await first_timestamps(self._log, positions)).values()
        if not appended_ms:
            return
        since_ms = max(min(appended_ms) - _SKEW_MS, self._clock.now_ms() - _LONGEST_MS)
        keys: set[bytes] = set()
        await read_to_end(
            self._log,
            dict.fromkeys(self._places[Topic.INFERENCE_RESULTS], FromTime(since_ms)),
            lambda raw: keys.add(raw.key or b""),
        )
        self._listener.over(keys)

    async def look_back_when_partitions_come(self) -> None:
        """Look back at the start, and after each ``find_ends`` of partitions, until cancelled."""
        while True:
            await self._is_to_look.wait()
            self._is_to_look.clear()
            try:
                await self.look_back()
            except Unavailable as error:
                _LOG.info("cannot look back", extra={"why": str(error)})
                self._is_to_look.set()
                await asyncio.sleep(_RETRY_S)

    async def _running(self, reader: Reader, since_ms: int, over: set[bytes]) -> list[CacheMissed]:
        """What was passed on and has not ended; ends come to ``over`` from elsewhere as well."""
        missed: dict[bytes, CacheMissed] = {}
        async for raw in self._read_back(reader, Topic.INFERENCE_RESULTS, since_ms - _SKEW_MS):
            over.add(raw.key or b"")
        async for raw in self._read_back(reader, Topic.CACHE_MISSES, since_ms):
            if raw.key is not None and raw.key not in over:
                _decode_into(missed, raw.key, raw)
        return [miss for key, miss in missed.items() if key not in over]

    async def _hand_on(self, reader: Reader) -> None:
        try:
            polled = await reader.poll(timeout_s=_POLL_S, max_records=_FOLLOW_RECORDS)
        except Unavailable as error:
            _LOG.warning("results cannot be read", extra={"why": str(error)})
            await asyncio.sleep(_RETRY_S)
            return
        wanted, over = self._listener.leaders, self._ended_meanwhile
        for raws in polled.values():
            if over is not None:
                over.update(raw.key for raw in raws if raw.key is not None)
            for raw in raws:
                if raw.key in wanted and raw.key is not None and raw.value is not None:
                    await self._listener.ended(raw.key, raw.value)

    async def _rest(self) -> None:
        """Let results gather, for longer while nobody waits for one."""
        hurry = self._listener.is_anybody_waiting
        if hurry.is_set():
            await asyncio.sleep(_HURRIED_S)
        else:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_UNHURRIED_S):
                    await hurry.wait()

    async def _read_back(self, reader: Reader, topic: Topic, since_ms: int) -> AsyncIterator[Raw]:
        """The records of a topic from a time to its end, and what comes meanwhile."""
        ends = await reader.end_offsets()
        left = {place: ends[place] for place in self._places[topic]}
        for place in left:
            await reader.seek_to_time(place, since_ms)
        while left:
            for place, end in list(left.items()):
                if await reader.position(place) >= end:
                    del left[place]
            if left:
                polled = await reader.poll(timeout_s=_POLL_S, max_records=_LOOK_BACK_RECORDS)
                for place, raws in polled.items():
                    for raw in raws if place.topic == topic else ():
                        yield raw
                await asyncio.sleep(0)  # fetched ahead, a poll does not let others run

    async def _started(self, places: Sequence[TopicPartition]) -> Reader:
        while True:
            reader = self._log.reader()
            try:
                await reader.start(places)
            except Unavailable as error:
                await reader.stop()
                _LOG.info("waiting for Kafka", extra={"why": str(error)})
                await asyncio.sleep(_RETRY_S)
            else:
                return reader


@asynccontextmanager
async def following(
    tools: Tools, listener: Listener, *beside: Callable[[], Awaitable[None]]
) -> AsyncIterator[ResultFollower]:
    """Follow results while the block runs.

    Args:
        tools: The runtime's.
        listener: Who wants to know.
        beside: What else runs for as long; a failure of any ends the process.
    """
    follower = ResultFollower(
        tools.log, listener, partition_count=tools.outbox.partition_count, clock=tools.clock
    )
    tasks = BackgroundTasks(on_failure=tools.outbox.give_up)
    tasks.start(follower.follow())
    tasks.start(follower.look_back_when_partitions_come())
    for run in beside:
        tasks.start(run())  # type: ignore[arg-type]
    try:
        yield follower
    finally:
        await tasks.stop()


def _decode_into(missed: dict[bytes, CacheMissed], key: bytes, raw: Raw) -> None:
    try:
        missed.setdefault(key, decode_record(raw.value or b"", CacheMissed))
    except PoisonRecord:
        return  # its dead letter is its consumer's duty
