"""The consumer loop: poll → decode → check → process → produce → commit.

One loop reads one topic. It hands the records of a poll to the processor together, lets them
finish in any order, and commits what is contiguous. There are three kinds of "no": back-pressure
(``Unavailable``: wait, the same records again), poison (dead letter and a terminal record where
the request is known), and a refusal, which is the processor's own normal output.
"""

import asyncio
import contextlib
import logging
import traceback
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from services.shared.domain.errors import MustStop, PoisonRecord, Unavailable
from services.shared.domain.events import Event
from services.shared.stream.assignments import AssignmentWatcher
from services.shared.stream.backoff import backoff_s
from services.shared.stream.client import Consumer, Polled, Raw, TopicPartition
from services.shared.stream.crash_points import crash_point
from services.shared.stream.due import MAX_KEPT_RECORDS, NotDue
from services.shared.stream.inbox import Inbox
from services.shared.stream.lanes import SlotPool
from services.shared.stream.outbox import Outbox
from services.shared.stream.partitions import Partitions
from services.shared.stream.source import Source
from services.shared.stream.suspects import CRASHES_TO_POISON, Caution, Place
from services.shared.stream.work import Work
from services.shared.telemetry.metrics import StageMetrics

T = TypeVar("T")
E = TypeVar("E", bound=Event)
Process = Callable[[Sequence[Work[E]]], Awaitable[None]]
"""What a processor is to the runtime: takes the records of one poll.

``Unavailable`` says: call again with those of them that are not finished.
"""

_LOG = logging.getLogger(__name__)
_POLL_S = 1.0
_COMMIT_INTERVAL_S = 0.25


class Shared(msgspec.Struct, frozen=True, kw_only=True):
    """What the loops of a process have in common.

    Attributes:
        outbox: The way out.
        pool: Slots of records in work.
        metrics: What is measured.
        caution: The time after a crash loop; None when there was none.
        watcher: Told of assignments; None = nobody is.
    """

    outbox: Outbox
    pool: SlotPool
    metrics: StageMetrics
    caution: Caution | None = None
    watcher: AssignmentWatcher | None = None


class ConsumerLoop(Generic[E]):
    """Reads one topic for one processor."""

    def __init__(
        self, *, source: Source, consumer: Consumer, process: Process[E], shared: Shared
    ) -> None:
        """Prepare; ``start`` joins the group."""
        self.consumer = consumer
        self._source = source
        self._process = process
        self._clock = shared.outbox.clock
        self._pool = shared.pool
        self._metrics = shared.metrics
        self._caution = shared.caution
        self._watcher = shared.watcher
        self._preparing: asyncio.Task[None] | None = None
        self._partitions = Partitions(consumer)
        self._inbox: Inbox[E] = Inbox(
            source=source,
            outbox=shared.outbox,
            pool=shared.pool,
            partitions=self._partitions,
            metrics=shared.metrics,
        )
        self._pending: deque[Raw] = deque()
        self._not_due = NotDue() if source.is_delayed else None
        self._accused: Place | None = None
        self._stopping = asyncio.Event()
        self._is_leaving = False
        self._committing: asyncio.Task[None] | None = None
        self._interruptible: asyncio.Task[Any] | None = None

    # -- life ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Join the group.

        Raises:
            Unavailable: No broker answers. Retriable.
        """
        await self.consumer.start(
            on_assigned=self._on_assigned, on_revoked=self._on_revoked, on_reset=self._on_reset
        )

    async def run(self) -> None:
        """Work until ``stop_soon``; open records are left to ``drained``.

        Raises:
            MustStop: This process may not go on.
        """
        self._committing = self._inbox.background.start(self._commit_regularly())
        while not self._stopping.is_set():
            await self._turn()

    def stop_soon(self) -> None:
        """Take no more records; ``run`` returns as soon as the processor has those it was given."""
        self._stopping.set()
        if self._interruptible is not None:
            self._interruptible.cancel()

    async def leave(self, before: Callable[[], None]) -> None:
        """Give the partitions to others, now that ``run`` has returned; open records go on.

        What was finished is committed; what finishes later is delivered again, to somebody else.

        Args:
            before: Called when all is ready, just before the group is left.
        """
        self._is_leaving = True
        if self._committing is not None:
            self._committing.cancel()
        await self._on_revoked(self.consumer.assignment())
        before()
        await self.consumer.leave()

    async def drained(self) -> None:
        """Return once all open records are finished."""
        await self._inbox.emptied()

    async def stop(self) -> None:
        """Commit what is contiguous and leave the group."""
        caution, accused = self._caution, self._accused
        if caution is not None and accused is not None and not self._inbox.open_count:
            await caution.suspects.acquit(accused)
        await self.abort()
        with contextlib.suppress(Unavailable):
            await self._partitions.commit()
        await self.consumer.stop()

    async def abort(self) -> None:
        """Let everything go as it is."""
        await self._inbox.background.stop()

    @property
    def open_count(self) -> int:
        """Records in work."""
        return self._inbox.open_count

    @property
    def is_stuck(self) -> bool:
        """Whether it takes no records because its dead letters cannot be written."""
        return self._inbox.dead_letters.are_stuck

    @property
    def lane(self) -> int:
        """Its lane in the slot pool."""
        return self._source.lane

    def hold(self, *, is_held: bool) -> None:
        """Pause or resume the whole loop, e.g. a low priority while topics downstream are long."""
        self._partitions.is_held = is_held
        self._partitions.apply_pauses()

    # -- taking ----------------------------------------------------------------------------------

    async def _turn(self) -> None:
        caution = self._caution
        if caution is not None and not caution.is_over.is_set():
            if caution.concerns(self._source.topic):
                await self._run_one_alone(caution)
            else:
                await self._or_stop(caution.is_over.wait())
            return
        room = self._pool.allowance(self._source.lane)
        if room <= 0:
            await self._or_stop(self._pool.wait(self._source.lane, timeout_s=_POLL_S))
            return
        if not self._pending:
            await self._poll(room)
        if self._inbox.dead_letters.are_open:  # nothing is taken that might not be given up
            await self._or_stop(self._inbox.dead_letters.none_open())
            return
        if works := self._take():
            await self._process_patiently(works)
            if self._source.pause_s:
                await self._or_stop(asyncio.sleep(self._source.pause_s))

    async def _poll(self, max_records: int) -> None:
        timeout_s = _POLL_S
        if self._not_due is not None:
            now_ms = self._clock.now_ms()
            timeout_s = self._not_due.wait_s(now_ms=now_ms, most_s=_POLL_S)
            max_records = min(max_records, MAX_KEPT_RECORDS)
        poll = self.consumer.poll(timeout_s=timeout_s, max_records=max_records)
        try:
            polled = await self._or_stop(poll)
        except Unavailable as error:
            _LOG.warning("poll failed", extra={"topic": self._source.topic, "why": str(error)})
            await self._or_stop(asyncio.sleep(backoff_s(0)))
            return
        if polled:
            crash_point("after_poll")
        if self._not_due is not None:
            self._wait_until_due(self._not_due, polled or {})
        elif polled:
            for raws in polled.values():
                self._pending.extend(raws)
        if polled:
            self._metrics.polled(self._source.topic, len(self._pending))

    def _wait_until_due(self, not_due: NotDue, polled: Polled) -> None:
        """Take what is due, and pause the partitions whose next record is not."""
        not_due.add(polled)
        self._pending.extend(not_due.take(now_ms=self._clock.now_ms()))
        if not_due.partitions != self._partitions.not_due:
            self._partitions.not_due = not_due.partitions
            self._partitions.apply_pauses()

    def _take(self) -> list[Work[E]]:
        """Take polled records into work, as many as there are slots and bytes for."""
        received_ms = self._clock.now_ms()
        lane, pool, pending = self._source.lane, self._pool, self._pending
        works: list[Work[E]] = []
        room = pool.allowance(lane)
        while pending and room > 0 and pool.has_bytes(lane):
            room -= 1
            work = self._inbox.take(pending.popleft(), received_ms=received_ms)
            if work is not None:
                works.append(work)
        return works

    async def _or_stop(self, wait: Coroutine[Any, Any, T]) -> T | None:
        """Await something that is given up, with None, when the process is told to stop."""
        if self._stopping.is_set():
            wait.close()
            return None
        task = self._interruptible = asyncio.current_task()
        try:
            return await wait
        except asyncio.CancelledError:
            if not self._stopping.is_set():
                raise
            if task is not None:
                task.uncancel()
            return None
        finally:
            self._interruptible = None

    # -- after a crash loop ----------------------------------------------------------------------

    async def _run_one_alone(self, caution: Caution) -> None:
        """Take one record while the whole process has none other in work."""
        async with caution.turn:
            if not self._pending:
                await self._poll(1)
            if self._pending and not self._stopping.is_set():
                await self._survive(self._pending[0], caution)
            if not self._pending and not self._inbox.open_count:
                for partition in self.consumer.assignment():
                    caution.passed(partition, self.consumer.position(partition))
                caution.end_if_survived()

    async def _survive(self, raw: Raw, caution: Caution) -> None:
        place = (raw.topic, raw.partition, raw.offset)
        crashes = caution.suspects.crashes(place)
        self._accused = place
        await self._or_stop(caution.suspects.accuse(place))
        if not self._pending or self._stopping.is_set():  # a rebalance took it, or a stop
            return
        if crashes >= CRASHES_TO_POISON:
            self._pending.popleft()
            self._inbox.condemn(raw, may_decode=crashes == CRASHES_TO_POISON)
        elif works := self._take():
            await self._process_patiently(works)
        await self._or_stop(self._inbox.emptied())
        if not self._inbox.open_count:
            await caution.suspects.acquit(place)
            self._accused = None

    # -- processing ------------------------------------------------------------------------------

    async def _process_patiently(self, works: list[Work[E]]) -> None:
        """Hand records over until they are taken; isolate the one that breaks the processor."""
        attempt = 0
        while works:
            try:
                await self._process(works)
            except Unavailable as error:
                topic = self._source.topic
                _LOG.warning("back-pressure", extra={"topic": topic, "why": str(error)})
                await self._or_stop(asyncio.sleep(backoff_s(attempt)))
                attempt += 1
            except MustStop:
                raise
            except Exception as error:  # noqa: BLE001  # whatever it is, the others go on
                await self._isolate(works, error)
                return
            else:
                return
            if self._stopping.is_set():
                self._inbox.abandon(works)
                return
            works = self._inbox.still_wanted(works)

    async def _isolate(self, works: list[Work[E]], error: Exception) -> None:
        if len(works) > 1:
            for work in works:
                if not work.is_finished:
                    await self._process_patiently([work])
            return
        if not isinstance(error, PoisonRecord):
            kind = type(error).__name__
            # The message may quote the record, so only where it happened is told.
            places = [f"{f.filename}:{f.lineno} {f.name}" for f in _frames(error)]
            _LOG.error("a processor failed", extra={"error": kind, "places": places})
            error = PoisonRecord("processor_error", kind)
        works[0].bury(error)

    # -- partitions ------------------------------------------------------------------------------

    async def _on_assigned(self, positions: Mapping[TopicPartition, int]) -> None:
        if self._is_leaving:
            return  # they stay paused
        watcher = self._watcher
        self._partitions.resume_at(positions, is_prepared=watcher is None)
        if watcher is not None:
            self._preparing = self._inbox.background.start(self._prepare(watcher, positions))
        if self._caution is not None:
            self._caution.forget(self._source.topic)
            self._caution.watch(await self.consumer.backlog(positions))

    async def _prepare(
        self, watcher: AssignmentWatcher, positions: Mapping[TopicPartition, int]
    ) -> None:
        """Have partitions prepared, then take records of them; not in the way of heartbeats."""
        attempt = 0
        while True:
            try:
                await watcher.assigned(positions)
            except Unavailable as error:
                _LOG.warning("cannot prepare", extra={"why": str(error)})
                await asyncio.sleep(backoff_s(attempt))
                attempt += 1
            else:
                self._partitions.prepared()
                return

    async def _on_revoked(self, partitions: frozenset[TopicPartition]) -> None:
        self._pending.clear()
        if self._preparing is not None:
            self._preparing.cancel()
        if self._watcher is not None:
            await self._watcher.revoked(partitions)
        if self._not_due is not None:
            self._not_due.clear()
            self._partitions.not_due = frozenset()
        with contextlib.suppress(Unavailable):
            await self._partitions.commit()

    async def _on_reset(self, partitions: frozenset[TopicPartition]) -> None:
        for partition in partitions:
            position = self.consumer.position(partition)
            _LOG.error(
                "the position fell out of the log",
                extra={
                    "topic": partition.topic,
                    "partition": partition.partition,
                    "offset": position,
                },
            )
            self._partitions.reset(partition, position)

    async def _commit_regularly(self) -> None:
        while True:
            await asyncio.sleep(_COMMIT_INTERVAL_S)
            self._partitions.review()
            try:
                await self._partitions.commit()
            except Unavailable as error:
                _LOG.info("commit failed", extra={"topic": self._source.topic, "why": str(error)})


def _frames(error: Exception) -> traceback.StackSummary:
    return traceback.extract_tb(error.__traceback__)
