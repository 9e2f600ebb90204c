"""Follows ``cache-entries`` into a semantic index: all of it from the start, then what comes.

There is no group: every process reads everything. A purge is a tombstone.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence

from services.shared.codec.records import decode_record
from services.shared.domain.errors import PoisonRecord, Unavailable
from services.shared.domain.events import AnswerCached
from services.shared.domain.topics import Topic
from services.shared.ports.clock import Clock
from services.shared.ports.semantic_index import SemanticIndex
from services.shared.stream.client import Log, Raw, Reader, TopicPartition
from services.shared.stream.reading import FromOffset, begun

_LOG = logging.getLogger(__name__)
_POLL_S = 1.0
_POLL_RECORDS = 100  # some ms of decoding, then others have their turn
_RETRY_S = 0.2


class EntryFollower:
    """Keeps an index as the topic has it.

    Attributes:
        put: Entries that were put into the index.
    """

    def __init__(
        self, log: Log, index: SemanticIndex, *, partition_count: int, clock: Clock
    ) -> None:
        """Prepare; ``follow`` has to run.

        Args:
            log: The log.
            index: What is kept.
            partition_count: Number of partitions of the topic.
            clock: The time.
        """
        self.put = 0
        self._log = log
        self._index = index
        self._where = [TopicPartition(Topic.CACHE_ENTRIES, it) for it in range(partition_count)]
        self._clock = clock
        self._ends: Mapping[TopicPartition, int] = {}
        self._positions: dict[TopicPartition, int] = {}

    @property
    def read_ratio(self) -> float:
        """How much of what the topic held at the start was read, 0..1."""
        if not self._ends:
            return 0.0
        total = sum(self._ends.values())
        left = sum(max(0, end - self._positions.get(at, 0)) for at, end in self._ends.items())
        return 1.0 - left / total if total else 1.0

    async def follow(self) -> None:
        """Read all of it, then follow it, until cancelled; broker and index are waited for."""
        starts = dict.fromkeys(self._where, FromOffset(0))
        reader, self._ends = await begun(self._log, starts, what="cache entries")
        try:
            while True:
                await self._hand_on(reader)
        finally:
            await reader.stop()

    async def _hand_on(self, reader: Reader) -> None:
        try:
            polled = await reader.poll(timeout_s=_POLL_S, max_records=_POLL_RECORDS)
            await self._apply([raw for raws in polled.values() for raw in raws])
            if self.read_ratio < 1.0:
                await self._see_progress(reader)
        except Unavailable as error:
            _LOG.warning("cache entries cannot be read", extra={"why": str(error)})
            await asyncio.sleep(_RETRY_S)

    async def _see_progress(self, reader: Reader) -> None:
        for partition in self._where:
            self._positions[partition] = await reader.position(partition)
        if self.read_ratio >= 1.0:
            _LOG.info("cache entries were read", extra={"entries": self.put})
        await asyncio.sleep(0)  # fetched ahead, a poll does not let others run

    async def _apply(self, raws: Sequence[Raw]) -> None:
        newest: dict[str, AnswerCached | None] = {}  # in the order of what is newest of each
        for raw in raws:
            entry_id = (raw.key or b"").decode(errors="replace")
            newest.pop(entry_id, None)
            newest[entry_id] = _entry_of(raw)
        now_ms = self._clock.now_ms()
        gone = [entry_id for entry_id, entry in newest.items() if entry is None]
        come = [it for it in newest.values() if it is not None and _is_compared(it, now_ms)]
        while True:
            try:
                if gone:
                    await self._index.remove(gone)
                if come:
                    await self._index.put(come)
            except Unavailable as error:
                _LOG.warning("the semantic index cannot be written", extra={"why": str(error)})
                await asyncio.sleep(_RETRY_S)
            else:
                self.put += len(come)
                return


def _is_compared(entry: AnswerCached, now_ms: float) -> bool:
    return entry.semantic is not None and entry.expires_at > now_ms


def _entry_of(raw: Raw) -> AnswerCached | None:
    """The entry of a record; a tombstone, or what cannot be read, is none."""
    if raw.value is None:
        return None
    try:
        return decode_record(raw.value, AnswerCached)
    except PoisonRecord:
        _LOG.error("a record is no entry", extra={"offset": raw.offset})
        return None
