"""Reads ``model-call-attempts``: back as far as requests go, on while somebody waits, or singly.

No call is made for a request before it was accepted. So at an assignment only the last seconds are
read, for signs of life and for what was in work; for a request that is older, as much more is read
before it is served. What a process has to read when it comes back is thus as much as was in work,
however busy the last hours were.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping

import msgspec

from services.shared.codec.records import decode_record
from services.shared.domain.errors import PoisonRecord
from services.shared.domain.events import ModelCallAttempt
from services.shared.domain.topics import Topic
from services.shared.ports.attempts import Place
from services.shared.ports.clock import Clock
from services.shared.stream.client import Log, Raw, TopicPartition
from services.shared.stream.reading import FromOffset, FromTime, read_to_end

RECENT_MS = 15_000
"""So much is read at an assignment."""

_SKEW_MS = 10_000
"""The clock that says when a request was accepted may be so far ahead of the broker's."""

Listen = Callable[[ModelCallAttempt, int, int], None]
"""Takes a record, its offset, and when the broker wrote it, unix ms."""


class AttemptLogReader:
    """An ``AttemptLog``. Of each partition one stretch is known, up to where it was last read."""

    def __init__(self, log: Log, *, clock: Clock, listen: Listen) -> None:
        """Use a log; ``listen`` is handed all that is read."""
        self._log = log
        self._clock = clock
        self._listen = listen
        self._known: dict[int, _Stretch] = {}
        self._asked: dict[int, float] = {}
        self._turn = asyncio.Lock()

    async def prepare(self, partitions: Iterable[int]) -> None:
        """Read what was written lately, to the ends of these partitions.

        Raises:
            Unavailable: The log does not answer. Retriable.
        """
        since_ms = self._clock.now_ms() - RECENT_MS
        for number in partitions:
            self._asked[number] = min(since_ms, self._asked.get(number, since_ms))
        async with self._turn:  # whoever comes in has all read that was asked for meanwhile
            asked, self._asked = self._asked, {}
            # What was not followed for long is not made up for: it may be hours.
            for number in [
                n for n in asked if n in self._known and self._known[n].read_ms < asked[n]
            ]:
                del self._known[number]
            known = self._known.keys() & asked
            try:
                await self._read_back(asked)
                await self._read_on(known)
            except BaseException:
                self._asked = {**asked, **self._asked}
                raise

    async def reach(self, accepted_ms: Mapping[int, float]) -> None:
        """See ``AttemptLog``."""
        if self._lacking(accepted_ms):
            async with self._turn:
                await self._read_back(self._lacking(accepted_ms))

    async def catch_up(self, partitions: Iterable[int]) -> None:
        """Read partitions from where they were last read to their ends."""
        async with self._turn:
            await self._read_on(partitions)

    async def read(self, places: Iterable[Place]) -> Mapping[Place, ModelCallAttempt]:
        """Read single records, and what lies between them."""
        wanted = set(places)
        found: dict[Place, ModelCallAttempt] = {}

        def take(raw: Raw) -> None:
            place = (raw.partition, raw.offset)
            if place in wanted and raw.value is not None:
                found[place] = decode_record(raw.value, ModelCallAttempt)

        offsets: dict[TopicPartition, list[int]] = {}
        for number, offset in wanted:
            offsets.setdefault(_place(number), []).append(offset)
        await read_to_end(
            self._log,
            {where: FromOffset(min(own)) for where, own in offsets.items()},
            take,
            before={where: max(own) + 1 for where, own in offsets.items()},
        )
        return found

    def _lacking(self, accepted_ms: Mapping[int, float]) -> dict[int, float]:
        """From when on partitions are to be known, where they are not."""
        return {
            number: at_ms - _SKEW_MS
            for number, at_ms in accepted_ms.items()
            if number not in self._known or self._known[number].since_ms > at_ms - _SKEW_MS
        }

    async def _read_back(self, since_ms: Mapping[int, float]) -> None:
        """Read partitions from these times on, where they are not known from then on."""
        starts, before = {}, {}
        for number, at_ms in since_ms.items():
            known = self._known.get(number)
            if known is None:
                starts[_place(number)] = FromTime(at_ms)
            elif known.since_ms > at_ms:
                starts[_place(number)] = FromTime(at_ms)
                before[_place(number)] = known.start
        if not starts:  # a reader of nothing would wait for ever, with the turn in hand
            return
        first = {where.partition: end for where, end in before.items()}

        def take(raw: Raw) -> None:
            first[raw.partition] = min(raw.offset, first.get(raw.partition, raw.offset))
            self._hand_on(raw)

        now_ms = self._clock.now_ms()
        ends = await read_to_end(self._log, starts, take, before=before)
        for where, since in starts.items():
            number, end = where.partition, ends[where]
            known = self._known.get(number) or _Stretch(
                since_ms=since, start=end, end=end, read_ms=now_ms
            )
            self._known[number] = msgspec.structs.replace(
                known, since_ms=since, start=first.get(number, known.start)
            )

    async def _read_on(self, partitions: Iterable[int]) -> None:
        starts = {_place(number): FromOffset(self._known[number].end) for number in partitions}
        if not starts:
            return
        now_ms = self._clock.now_ms()
        ends = await read_to_end(self._log, starts, self._hand_on)
        for where, end in ends.items():
            known = self._known[where.partition]
            self._known[where.partition] = msgspec.structs.replace(
                known, end=max(end, known.end), read_ms=now_ms
            )

    def _hand_on(self, raw: Raw) -> None:
        try:
            record = decode_record(raw.value or b"", ModelCallAttempt)
        except PoisonRecord:
            return  # not ours; nothing that a model caller wrote is lost by it
        self._listen(record, raw.offset, raw.timestamp)


class _Stretch(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a partition.

    Attributes:
        since_ms: All from this time on, unix ms of the broker.
        start: The first offset of it.
        end: The first offset that is not known.
        read_ms: When it was the last one, unix ms.
    """

    since_ms: float
    start: int
    end: int
    read_ms: float


def _place(number: int) -> TopicPartition:
    return TopicPartition(Topic.MODEL_CALL_ATTEMPTS, number)
