"""Reads ``model-call-attempts``: back at an assignment, on while somebody waits, single records."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from services.shared.codec.records import decode_record
from services.shared.domain.errors import PoisonRecord
from services.shared.domain.events import ModelCallAttempt
from services.shared.domain.topics import Topic
from services.shared.ports.attempts import Place
from services.shared.ports.clock import Clock
from services.shared.stream.client import Log, Raw, TopicPartition
from services.shared.stream.reading import FromOffset, FromTime, read_to_end

MARGIN_MS = 15 * 60 * 1000
"""The log is read from so long before the oldest record that is not committed, and before now."""

Listen = Callable[[ModelCallAttempt, int, int], None]
"""Takes a record, its offset, and when the broker wrote it, unix ms."""


class AttemptLogReader:
    """An ``AttemptLog``. Each partition is read once and then only further."""

    def __init__(self, log: Log, *, clock: Clock, listen: Listen) -> None:
        """Use a log; ``listen`` is handed all that is read."""
        self._log = log
        self._clock = clock
        self._listen = listen
        self._next: dict[int, int] = {}
        self._since_ms: dict[int, float] = {}
        self._turn = asyncio.Lock()

    async def prepare(self, positions: Mapping[TopicPartition, int]) -> None:
        """Read back whatever may concern records from these positions on.

        Args:
            positions: Partitions of a topic of batches, and offsets from which they are consumed.

        Raises:
            Unavailable: The log does not answer. Retriable.
        """
        if not positions:  # a reader of nothing would wait for ever, with the turn in hand
            return
        async with self._turn:
            oldest_ms = await self._oldest(positions)
            starts: dict[int, FromTime | FromOffset] = {}
            for where in positions:
                number = where.partition
                from_ms = oldest_ms.get(where, self._clock.now_ms()) - MARGIN_MS
                if self._since_ms.get(number, float("inf")) <= from_ms:
                    starts[number] = FromOffset(self._next[number])
                else:
                    starts[number] = FromTime(from_ms)
            await self._read(starts)
            for number, start in starts.items():
                if isinstance(start, FromTime):
                    self._since_ms[number] = start

    async def catch_up(self, partitions: Iterable[int]) -> None:
        """Read partitions from where they were last read to their ends."""
        async with self._turn:
            await self._read({number: FromOffset(self._next[number]) for number in partitions})

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
            where = TopicPartition(Topic.MODEL_CALL_ATTEMPTS, number)
            offsets.setdefault(where, []).append(offset)
        await read_to_end(
            self._log,
            {where: FromOffset(min(own)) for where, own in offsets.items()},
            take,
            before={where: max(own) + 1 for where, own in offsets.items()},
        )
        return found

    async def _oldest(
        self, positions: Mapping[TopicPartition, int]
    ) -> Mapping[TopicPartition, float]:
        """When the first record from each position on was written; those that have none miss."""
        oldest: dict[TopicPartition, float] = {}
        reader = self._log.reader()
        try:
            await reader.start(positions)
            ends = await reader.end_offsets()
            left = {where for where, position in positions.items() if position < ends[where]}
            for where in left:
                await reader.seek(where, positions[where])
            while left:
                polled = await reader.poll(timeout_s=1.0, max_records=len(left))
                for where in left & polled.keys():
                    oldest[where] = polled[where][0].timestamp
                left -= polled.keys()
                left = {it for it in left if await reader.position(it) < ends[it]}
        finally:
            await reader.stop()
        return oldest

    async def _read(self, starts: Mapping[int, FromTime | FromOffset]) -> None:
        if not starts:
            return
        places = {TopicPartition(Topic.MODEL_CALL_ATTEMPTS, it): at for it, at in starts.items()}
        ends = await read_to_end(self._log, places, partial(_hand_on, self._listen))
        for where, end in ends.items():
            self._next[where.partition] = max(end, self._next.get(where.partition, 0))


def _hand_on(listen: Listen, raw: Raw) -> None:
    try:
        record = decode_record(raw.value or b"", ModelCallAttempt)
    except PoisonRecord:
        return  # not ours; nothing that a model caller wrote is lost by it
    listen(record, raw.offset, raw.timestamp)
