"""The consumer loop: poll → decode → check → process → produce → commit.

One loop reads one topic. It hands the records of a poll to the processor together, lets them
finish in any order, and commits what is contiguous. There are three kinds of "no": back-pressure
(``Unavailable``: pause, wait, the same records again), poison (dead letter and a terminal record
where the request is known), and a refusal, which is the processor's own normal output.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import msgspec

from services.shared.codec.avro import Undecodable
from services.shared.codec.headers import check_against_request, check_checksum, read_headers
from services.shared.codec.records import decode_record
from services.shared.domain.errors import MustStop, PoisonRecord, PublicError, Unavailable
from services.shared.domain.events import Event, InferenceRequested, RequestBatch
from services.shared.domain.terminal import emits_for_expiry, emits_for_failure, journey_of
from services.shared.stream.client import Consumer, Polled, Raw, TopicPartition
from services.shared.stream.lanes import SlotPool
from services.shared.stream.outbox import Outbox
from services.shared.stream.poison import PoisonLimit, dead_letter_headers
from services.shared.stream.suspects import Suspects
from services.shared.stream.tracker import OffsetTracker
from services.shared.stream.work import Work, request_of
from services.shared.telemetry.metrics import StageMetrics

E = TypeVar("E", bound=Event)
Process = Callable[[Sequence[Work[E]]], Awaitable[None]]
"""What a processor is to the runtime: takes the records of one poll."""

_LOG = logging.getLogger(__name__)
_POLL_S = 1.0
_COMMIT_INTERVAL_S = 0.25
_BACKOFF_S = (0.05, 2.0)
_MAX_DISTANCE = 200_000


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """What a loop reads.

    Attributes:
        topic: The topic.
        event_type: Its record.
        group: Consumer group.
        lane: Lane in the slot pool, 0 = most urgent.
        is_public: Others may write it: headers are optional and poison never stops us.
        dlq: Dead-letter topic.
    """

    topic: str
    event_type: type[Event]
    group: str
    lane: int
    is_public: bool
    dlq: str


class ConsumerLoop(Generic[E]):
    """Reads one topic for one processor."""

    def __init__(
        self,
        *,
        source: Source,
        consumer: Consumer,
        process: Process[E],
        outbox: Outbox,
        pool: SlotPool,
        suspects: Suspects,
        is_cautious: bool,
        metrics: StageMetrics,
    ) -> None:
        self._source = source
        self._consumer = consumer
        self._process = process
        self._outbox = outbox
        self._pool = pool
        self._suspects = suspects
        self._is_cautious = is_cautious
        self._metrics = metrics
        self._clock = outbox.clock
        self._limit = PoisonLimit(topic=source.topic)
        self._trackers: dict[TopicPartition, OffsetTracker] = {}
        self._cautious_until: dict[TopicPartition, int] = {}
        self._held: set[TopicPartition] = set()
        self._is_paused_by_policy = False
        self._idle = asyncio.Event()

    # -- life ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Join the group.

        Raises:
            Unavailable: No broker answers. Retriable.
        """
        await self._consumer.start(
            on_assigned=self._on_assigned, on_revoked=self._on_revoked, on_reset=self._on_reset
        )

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until told to stop; then leave open records to ``drain``.

        Raises:
            MustStop: This process may not go on.
        """
        stopped = asyncio.create_task(stopping.wait())
        committer = asyncio.create_task(self._commit_regularly())
        try:
            while not stopping.is_set():
                if self._cautious_until:
                    await self._run_one_alone(stopped)
                elif polled := await self._poll_or(stopped):
                    await self._take(polled)
                if committer.done():
                    committer.result()
        finally:
            for task in (stopped, committer):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def drain(self, *, timeout_s: float) -> bool:
        """Wait until the open records are finished; whether they are."""
        self._consumer.pause(self._consumer.assignment())
        try:
            async with asyncio.timeout(timeout_s):
                await self._drained()
        except TimeoutError:
            return False
        return True

    async def stop(self) -> None:
        """Commit what is contiguous and leave the group."""
        with contextlib.suppress(Unavailable):
            await self._commit()
        await self._consumer.stop()

    @property
    def open_count(self) -> int:
        """Records in work."""
        return sum(tracker.open_count for tracker in self._trackers.values())

    @property
    def consumer(self) -> Consumer:
        """The consumer under the loop."""
        return self._consumer

    def hold(self, *, is_paused: bool) -> None:
        """Pause or resume the whole loop, e.g. a low priority while topics downstream are long."""
        self._is_paused_by_policy = is_paused
        self._apply_pauses()

    # -- polling ---------------------------------------------------------------------------------

    async def _poll_or(self, stopped: "asyncio.Task[bool]") -> Polled | None:
        free = 1 if self._cautious_until else self._pool.allowance(self._source.lane)
        if free <= 0:
            await self._pool.wait(self._source.lane, timeout_s=_POLL_S)
            return None
        poll = asyncio.create_task(self._consumer.poll(timeout_s=_POLL_S, max_records=free))
        await asyncio.wait((poll, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not poll.done():
            poll.cancel()
            with contextlib.suppress(asyncio.CancelledError, Unavailable):
                await poll
            return None
        try:
            return poll.result()
        except Unavailable as error:
            _LOG.warning("poll failed", extra={"topic": self._source.topic, "why": str(error)})
            await self._wait_backoff(0)
            return None

    async def _run_one_alone(self, stopped: "asyncio.Task[bool]") -> None:
        """Take one record while the whole process has none other in work."""
        async with self._suspects.turn:
            polled = await self._poll_or(stopped)
            if not polled:
                return
            await self._take(polled)
            await asyncio.wait((stopped, drained := asyncio.create_task(self._drained())),
                               return_when=asyncio.FIRST_COMPLETED)
            if not drained.done():
                drained.cancel()
                return
            for partition, raws in polled.items():
                await self._suspects.acquit((*partition, raws[0].offset))
                end = self._cautious_until.get(partition)
                if end is not None and self._trackers[partition].next_offset >= end:
                    del self._cautious_until[partition]

    async def _drained(self) -> None:
        while self.open_count:
            self._idle.clear()
            await self._idle.wait()

    async def _take(self, polled: Polled) -> None:
        received_ms = self._clock.now_ms()
        works: list[Work[E]] = []
        count = 0
        for partition, raws in polled.items():
            tracker = self._trackers[partition]
            for raw in raws:
                if not tracker.open(raw.offset):
                    continue
                count += 1
                self._pool.take(self._source.lane, _size_bytes(raw))
                work = await self._accept(raw, received_ms)
                if work is not None:
                    works.append(work)
            if tracker.distance > _MAX_DISTANCE:
                self._held.add(partition)
                self._apply_pauses()
        self._metrics.polled(self._source.topic, count)
        if works:
            await self._process_with_patience(works)

    # -- one record ------------------------------------------------------------------------------

    async def _accept(self, raw: Raw, received_ms: float) -> Work[E] | None:
        """Decode and check one record; None when it is already dealt with."""
        if raw.value is None:  # a tombstone means nothing here
            self._metrics.skipped(self._source.topic)
            self._close(raw)
            return None
        place = (raw.topic, raw.partition, raw.offset)
        if self._suspects.is_guilty(place):
            guilt = PoisonRecord("crash_loop", "the process died each time it took this record")
            await self._bury(raw, guilt, request=None)
            return None
        if self._cautious_until:
            await self._suspects.accuse(place)
        try:
            work = self._open(raw, received_ms)
        except PoisonRecord as poison:
            await self._bury(raw, poison, request=None)
            return None
        self._limit.good()
        request = request_of(work.event)
        if request is not None and 0 < request.deadline_at <= received_ms:
            await self._expire(work, request)
            return None
        return work

    def _open(self, raw: Raw, received_ms: float) -> Work[E]:
        value = raw.value or b""
        headers = read_headers(raw.headers)
        check_checksum(value, headers)
        event = decode_record(value, self._source.event_type)
        _check_identity(event, raw, headers, is_public=self._source.is_public)
        return Work(
            event=event,  # type: ignore[arg-type]  # event_type and E belong together
            record=raw,
            headers=headers,
            received_ms=received_ms,
            outbox=self._outbox,
            on_done=self._on_done,
        )

    async def _expire(self, work: Work[E], request: InferenceRequested) -> None:
        journey = journey_of(work.event)
        for emit in emits_for_expiry(request, now_ms=self._clock.now_ms(), journey=journey):
            await work.emit(emit)
        work.finish()

    # -- processing ------------------------------------------------------------------------------

    async def _process_with_patience(self, works: Sequence[Work[E]]) -> None:
        """Hand records over until they are taken; isolate the one that breaks the processor."""
        for attempt in range(1_000_000):  # ends by success, poison or a stop
            try:
                await self._process(works)
            except Unavailable as error:
                _LOG.warning(
                    "back-pressure", extra={"topic": self._source.topic, "why": str(error)}
                )
                await self._wait_backoff(attempt)
            except (MustStop, asyncio.CancelledError):
                raise
            except Exception as error:
                _LOG.exception("a processor failed", extra={"topic": self._source.topic})
                await self._isolate(works, error)
                return
            else:
                return
            works = [work for work in works if not work.is_finished]

    async def _isolate(self, works: Sequence[Work[E]], error: Exception) -> None:
        if len(works) == 1:
            poison = PoisonRecord("processor_error", type(error).__name__)
            works[0].bury(poison)
            return
        for work in works:
            if not work.is_finished:
                await self._process_with_patience([work])

    async def _wait_backoff(self, attempt: int) -> None:
        """Wait with jitter while the paused consumer keeps its membership."""
        first, most = _BACKOFF_S
        wait_s = min(most, first * 2 ** min(attempt, 10)) * random.uniform(0.5, 1.0)  # noqa: S311
        owned = self._consumer.assignment()
        self._consumer.pause(owned)
        await asyncio.sleep(wait_s)
        self._apply_pauses()

    # -- endings ---------------------------------------------------------------------------------

    def _on_done(self, work: Work[E], poison: PoisonRecord | None) -> None:
        if poison is None:
            self._close(work.raw)
        else:
            task = asyncio.ensure_future(
                self._bury(work.raw, poison, request=request_of(work.event))
            )
            task.add_done_callback(self._reraise)

    def _reraise(self, task: "asyncio.Future[None]") -> None:
        if not task.cancelled() and isinstance(error := task.exception(), MustStop):
            self._outbox.give_up(error)

    async def _bury(
        self, raw: Raw, poison: PoisonRecord, *, request: InferenceRequested | None
    ) -> None:
        """Dead letter first, then the terminal record; the offset waits for both."""
        self._metrics.poison(self._source.topic, poison.reason)
        _LOG.error(
            "poison record",
            extra={
                "topic": raw.topic,
                "partition": raw.partition,
                "offset": raw.offset,
                "reason": poison.reason,
            },
        )
        written = asyncio.Event()
        await self._outbox.send_raw(
            self._source.dlq,
            partition=raw.partition,
            key=raw.key,
            value=raw.value,
            headers=dead_letter_headers(raw, poison, group=self._source.group),
            on_acknowledged=written.set,
        )
        if request is not None:
            error = PublicError(
                code="poison_record", message="The request could not be processed."
            )
            for emit in emits_for_failure(request, error, now_ms=self._clock.now_ms()):
                acknowledged = asyncio.Event()
                await self._outbox.send(emit, on_acknowledged=acknowledged.set)
                await acknowledged.wait()
        await written.wait()
        self._close(raw)
        if not self._source.is_public:
            self._limit.poison()

    def _close(self, raw: Raw) -> None:
        partition = TopicPartition(raw.topic, raw.partition)
        tracker = self._trackers[partition]
        tracker.finish(raw.offset)
        self._pool.free(self._source.lane, _size_bytes(raw))
        if partition in self._held and tracker.distance <= _MAX_DISTANCE:
            self._held.discard(partition)
            self._apply_pauses()
        if not tracker.open_count:
            self._idle.set()

    # -- partitions ------------------------------------------------------------------------------

    async def _on_assigned(self, partitions: frozenset[TopicPartition]) -> None:
        for partition in partitions:
            self._trackers.setdefault(partition, OffsetTracker())
        if self._is_cautious:
            self._is_cautious = False
            self._cautious_until = dict(await self._consumer.backlog(partitions))
        self._apply_pauses()

    async def _on_revoked(self, _partitions: frozenset[TopicPartition]) -> None:
        with contextlib.suppress(Unavailable):
            await self._commit()

    async def _on_reset(self, partitions: frozenset[TopicPartition]) -> None:
        for partition in partitions:
            _LOG.error(
                "the position fell out of the log; going on at its start",
                extra={"topic": partition.topic, "partition": partition.partition},
            )
            self._trackers[partition] = OffsetTracker()

    def _apply_pauses(self) -> None:
        owned = self._consumer.assignment()
        held = owned if self._is_paused_by_policy else owned & self._held
        self._consumer.pause(held)
        self._consumer.resume(owned - held)

    # -- commits ---------------------------------------------------------------------------------

    async def _commit_regularly(self) -> None:
        while True:
            await asyncio.sleep(_COMMIT_INTERVAL_S)
            try:
                await self._commit()
            except Unavailable as error:
                _LOG.info("commit failed", extra={"topic": self._source.topic, "why": str(error)})

    async def _commit(self) -> None:
        owned = self._consumer.assignment()
        offsets = {
            partition: offset
            for partition, tracker in self._trackers.items()
            if partition in owned and (offset := tracker.committable()) is not None
        }
        if offsets:
            await self._consumer.commit(offsets)
            for partition, offset in offsets.items():
                self._trackers[partition].committed(offset)


def _size_bytes(raw: Raw) -> int:
    return len(raw.value) if raw.value is not None else 0


def _check_identity(
    event: Event, raw: Raw, headers: dict[str, bytes], *, is_public: bool
) -> None:
    """Ids are there, and value, headers and key tell the same story.

    Raises:
        PoisonRecord: They do not.
    """
    request = request_of(event)
    if request is not None:
        if not request.request_id:
            raise Undecodable("semantic_invalid", "request_id is empty")
        check_against_request(request, headers, required=not is_public)
    if is_public:
        return
    match event:
        case RequestBatch():
            identity = event.batch_id
            if not event.members:
                raise Undecodable("semantic_invalid", "a batch without members")
        case _:
            identity = getattr(event, "request_id", "") if request is None else request.request_id
    if raw.key != identity.encode() or not identity:
        raise PoisonRecord("bad_key", f"expected the id of the {type(event).__name__}")
