"""The way in: from a delivered record to open work, and from finished work to a closed offset."""

import asyncio
from collections.abc import Iterable
from functools import partial
from typing import Any, Generic, TypeVar

from services.shared.domain.errors import MustStop, PoisonRecord
from services.shared.domain.events import Event, InferenceRequested
from services.shared.domain.terminal import emits_for_expiry, journey_of
from services.shared.domain.topics import Topic
from services.shared.stream.background import BackgroundTasks
from services.shared.stream.client import Raw, TopicPartition
from services.shared.stream.intake import Taken, read, subjects_of_taken
from services.shared.stream.lanes import SlotPool
from services.shared.stream.outbox import Outbox
from services.shared.stream.partitions import Partitions
from services.shared.stream.poison import DeadLetters, PoisonLimit
from services.shared.stream.source import Source
from services.shared.stream.subjects import request_of
from services.shared.stream.tracker import OffsetTracker
from services.shared.stream.work import Work
from services.shared.telemetry.metrics import StageMetrics

E = TypeVar("E", bound=Event)
_CRASH_LOOP = PoisonRecord("crash_loop", "the process died each time it took this record alone")


class Inbox(Generic[E]):
    """Every record of a loop that is in work: it holds a slot and its partition's offset."""

    def __init__(
        self,
        *,
        source: Source,
        outbox: Outbox,
        pool: SlotPool,
        partitions: Partitions,
        metrics: StageMetrics,
    ) -> None:
        """Start with nothing open."""
        self.open_count = 0
        self.background = BackgroundTasks(on_failure=outbox.give_up)
        self._source = source
        self._outbox = outbox
        self._pool = pool
        self._partitions = partitions
        self._metrics = metrics
        self.dead_letters = DeadLetters(source=source, outbox=outbox, metrics=metrics)
        self._limit = PoisonLimit(topic=source.topic)
        self._reply_partitions = outbox.partition_count(Topic.RESULT_CHUNKS)
        self._emptied = asyncio.Event()

    def take(self, raw: Raw, *, received_ms: float) -> Work[E] | None:
        """Take a record into work; None when it is a repetition or already dealt with."""
        tracker = self._open(raw)
        if tracker is None:
            return None
        if raw.value is None:  # a tombstone means nothing here
            self._metrics.skipped(self._source.topic)
            self._close(raw, tracker)
            return None
        taken = read(raw, self._source, reply_partitions=self._reply_partitions)
        if taken.poison is not None:
            self._refuse(raw, tracker, taken, taken.poison)
            return None
        if not self._source.is_public:
            self._limit.good()
        work: Work[E] = Work(
            event=taken.event,  # type: ignore[arg-type]  # event_type and E belong together
            raw=raw,
            headers=taken.headers,
            received_ms=received_ms,
            outbox=self._outbox,
            on_done=partial(self._on_done, tracker),
        )
        return None if self._expires(work, received_ms) else work

    def condemn(self, raw: Raw, *, may_decode: bool) -> None:
        """Give up a record that kills its process.

        Args:
            raw: The record.
            may_decode: Whether decoding it, to tell those who wait, is worth one more risk.
        """
        tracker = self._open(raw)
        if tracker is None:
            return
        taken = Taken()
        if may_decode:
            taken = read(raw, self._source, reply_partitions=self._reply_partitions)
        else:
            taken.headers = {name: content or b"" for name, content in raw.headers}
        self._refuse(raw, tracker, taken, _CRASH_LOOP)

    def still_wanted(self, works: Iterable[Work[E]]) -> list[Work[E]]:
        """Those that are still open and whose deadline has not passed; the others are ended."""
        now_ms = self._outbox.clock.now_ms()
        return [work for work in works if not work.is_finished and not self._expires(work, now_ms)]

    def abandon(self, works: Iterable[Work[E]]) -> None:
        """Let records be that nobody will finish: they stay uncommitted."""
        for work in works:
            if work.abandon():
                self._release(work.raw)

    async def emptied(self) -> None:
        """Return once nothing is open."""
        while self.open_count:
            self._emptied.clear()
            await self._emptied.wait()

    # -- endings ---------------------------------------------------------------------------------

    def _expires(self, work: Work[E], now_ms: float) -> bool:
        """Whether a record's deadline has passed; then it is ended.

        What a public record says of its deadline, and of who waits, is not believed here.
        """
        request = None if self._source.is_public else request_of(work.event)
        if request is None or not 0 < request.deadline_at <= now_ms:
            return False
        self.background.start(self._expire(work, request))
        return True

    async def _expire(self, work: Work[E], request: InferenceRequested) -> None:
        journey = journey_of(work.event)
        now_ms = self._outbox.clock.now_ms()
        try:
            for emit in emits_for_expiry(request, now_ms=now_ms, journey=journey):
                await work.emit(emit)
        except PoisonRecord as poison:
            work.bury(poison)
        else:
            work.finish()

    def _on_done(
        self, tracker: OffsetTracker, work: Work[Any], poison: PoisonRecord | None
    ) -> None:
        if poison is None:
            self._close(work.raw, tracker)
        else:
            taken = Taken(headers=work.headers, event=work.event)
            self._refuse(work.raw, tracker, taken, poison)

    def _refuse(self, raw: Raw, tracker: OffsetTracker, taken: Taken, poison: PoisonRecord) -> None:
        if not self._source.is_public:
            try:
                self._limit.poison()
            except MustStop as error:
                self._outbox.give_up(error)
                return
        self.background.start(self._bury(raw, tracker, taken, poison))

    async def _bury(
        self, raw: Raw, tracker: OffsetTracker, taken: Taken, poison: PoisonRecord
    ) -> None:
        subjects = subjects_of_taken(taken, self._source) if poison.ends_request else ()
        await self.dead_letters.bury(raw, poison, subjects)
        self._close(raw, tracker)

    # -- offsets and slots -----------------------------------------------------------------------

    def _open(self, raw: Raw) -> OffsetTracker | None:
        tracker = self._partitions.tracker(TopicPartition(raw.topic, raw.partition))
        if not tracker.open(raw.offset):
            return None
        self._pool.take(self._source.lane, _size_bytes(raw))
        self.open_count += 1
        return tracker

    def _close(self, raw: Raw, tracker: OffsetTracker) -> None:
        tracker.finish(raw.offset)
        self._release(raw)

    def _release(self, raw: Raw) -> None:
        self._pool.free(self._source.lane, _size_bytes(raw))
        self.open_count -= 1
        if not self.open_count:
            self._emptied.set()


def _size_bytes(raw: Raw) -> int:
    return len(raw.value) if raw.value is not None else 0
