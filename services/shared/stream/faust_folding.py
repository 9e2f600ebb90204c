"""Folding a topic into a table: takes records, and makes durable what they changed.

Faust delivers, keeps the table's changelog and recovers it. What is exact here does not rest on
what Faust commits, but on the order of the writes (``services.shared.ports.folding``): one round
after the other, each ending with the position, and reading that goes on from there.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar, cast

import msgspec
from aiokafka.structs import ConsumerRecord
from faust.types import TP, EventT, Message

from services.shared.domain.errors import MustStop, PoisonRecord
from services.shared.domain.events import Event
from services.shared.ports.clock import Clock
from services.shared.ports.folding import Changes, Fold, Logged, PartitionFold
from services.shared.stream.client import Raw
from services.shared.stream.faust_app import BytesTable
from services.shared.stream.intake import read
from services.shared.stream.outbox import Fence, Outbox
from services.shared.stream.poison import DeadLetters, PoisonLimit
from services.shared.stream.source import Source
from services.shared.telemetry.metrics import StageMetrics

E = TypeVar("E", bound=Event)

_LOG = logging.getLogger(__name__)
_ROUND_S = 60.0
"""What is not durable by then may never be: a fresh process looks how far it came."""

_NAP_S = 1.0


class SourceLog(Protocol):
    """What is asked of the log that records come from."""

    def is_next(self, partition: TP, expected: int, offset: int) -> bool:
        """Whether the log holds no record from an expected offset up to another one."""
        ...

    def ask_again(self, partition: TP, offset: int) -> None:
        """Have the records from an offset on delivered again."""
        ...


class _Open(msgspec.Struct, Generic[E]):
    """A partition that is folded here.

    Attributes:
        fold: Its part of the table.
        missed: The offset that was asked for again and has not come yet; -1 = none.
    """

    fold: PartitionFold[E]
    missed: int = -1


class Reach(msgspec.Struct, frozen=True):
    """What folding works with.

    Attributes:
        outbox: To write records with.
        table: The table.
        fence: Whether this process may write.
        clock: The time.
        metrics: What is measured.
    """

    outbox: Outbox
    table: BytesTable
    fence: Fence
    clock: Clock
    metrics: StageMetrics


class Folding(Generic[E]):
    """The partitions that are folded by this process."""

    def __init__(
        self, *, source: Source, fold: Fold[E], reach: Reach, source_log: SourceLog
    ) -> None:
        """Start with no partition.

        Args:
            source: What is read.
            fold: Opens partitions.
            reach: What it works with.
            source_log: Where records come from.
        """
        self._source = source
        self._fold = fold
        self._reach = reach
        self._source_log = source_log
        self._partitions: dict[int, _Open[E]] = {}
        self._dead_letters = DeadLetters(source=source, outbox=reach.outbox, metrics=reach.metrics)
        self._limit = PoisonLimit(topic=source.topic)
        self._round = asyncio.Lock()
        self._changed = asyncio.Event()
        self._taken = 0

    # -- partitions ------------------------------------------------------------------------------

    def positions(self) -> Mapping[TP, int]:
        """Where each partition goes on."""
        return {
            TP(self._source.topic, partition): opened.fold.next_offset
            for partition, opened in self._partitions.items()
        }

    def open(self, partitions: frozenset[int]) -> None:
        """Take over partitions as the recovered table has them; others are let go."""
        entries: dict[int, list[tuple[bytes, bytes]]] = {}
        for key, value in self._reach.table.items():
            partition = self._fold.partition_of(key)
            if partition in partitions:
                entries.setdefault(partition, []).append((key, value))
            else:
                self._reach.table.forget(key)
        self._partitions = {
            partition: _Open(self._fold.open(partition, entries.get(partition, ())))
            for partition in sorted(partitions)
        }
        self._changed.set()  # what was recovered may be due at once

    async def close(self) -> None:
        """Make durable what there is, and let go of all partitions."""
        if self._partitions:
            await self.write()
        self._partitions = {}

    # -- records ---------------------------------------------------------------------------------

    @property
    def is_stuck(self) -> bool:
        """Whether it takes no records because its dead letters cannot be written."""
        return self._dead_letters.are_stuck

    async def take(self, event: EventT[bytes]) -> None:
        """Fold a delivered record; never raises, as Faust would pass the record over."""
        message = event.message
        opened = self._partitions.get(message.partition)
        if opened is None or not self._follows(opened, message):
            return
        try:
            poison = self._take(opened.fold, message)
            if poison is not None:
                self._limit.poison()
                await self._dead_letters.bury(_raw(message), poison, ())
                self._skip(opened.fold, message.offset)
        except Exception as error:  # noqa: BLE001  # the record stays unfolded, the process ends
            self._reach.outbox.give_up(
                error if isinstance(error, MustStop) else MustStop(f"folding failed: {error!r}")
            )

    def _take(self, fold: PartitionFold[E], message: Message) -> PoisonRecord | None:
        """Fold a record; returns why where it cannot be."""
        if message.value is None:  # a tombstone means nothing here
            self._reach.metrics.skipped(self._source.topic)
            self._skip(fold, message.offset)
            return None
        # `read` looks at key, value and headers alone, which a message has under the same names.
        taken = read(cast("Raw", message), self._source, reply_partitions=0)
        if taken.poison is not None:
            return taken.poison
        event = cast("E", taken.event)  # the source's event type and E belong together
        try:
            fold.take(
                Logged(event, message.offset, _timestamp_ms(message)),
                now_s=self._reach.clock.monotonic_s(),
            )
        except PoisonRecord as poison:
            return poison
        except Exception as error:  # noqa: BLE001  # a fault of ours; the record is not lost
            _LOG.exception("a record that cannot be folded", extra={"offset": message.offset})
            return PoisonRecord("processing_failed", repr(error))
        self._limit.good()
        self._note_change()
        return None

    def _skip(self, fold: PartitionFold[E], offset: int) -> None:
        fold.skip(offset, now_s=self._reach.clock.monotonic_s())
        self._note_change()

    def _note_change(self) -> None:
        self._taken += 1
        if not self._changed.is_set():
            self._changed.set()

    def _follows(self, opened: _Open[E], message: Message) -> bool:
        """Whether a record is the next one, or one of before; asks again for those left out."""
        expected, offset = opened.fold.next_offset, message.offset
        partition = TP(message.topic, message.partition)
        if offset <= expected or self._source_log.is_next(partition, expected, offset):
            opened.missed = -1
            return True
        if opened.missed != expected:
            _LOG.warning(
                "records were not delivered",
                extra={"partition": partition.partition, "from": expected, "to": offset},
            )
            opened.missed = expected
            self._source_log.ask_again(partition, expected)
        return False

    # -- rounds ----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Write whenever something is due, until cancelled.

        Raises:
            MustStop: The process may not go on.
        """
        while True:
            due_s = self._due_s()
            wait_s = None if due_s is None else due_s - self._reach.clock.monotonic_s()
            if wait_s is None:
                self._changed.clear()
                await self._changed.wait()
            elif wait_s <= 0:
                await self.write()
            elif self._changed.is_set():  # whatever comes now is not due earlier
                await asyncio.sleep(min(wait_s, _NAP_S))
            else:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), wait_s)

    async def write(self) -> None:
        """Make durable what changed: one round.

        Raises:
            MustStop: It is not known what became durable, or this process may not write.
        """
        async with self._round:
            await self._reach.fence.pass_through()
            self._reach.metrics.polled(self._source.topic, self._taken)
            self._taken = 0
            self._changed.clear()
            now_s = self._reach.clock.monotonic_s()
            changes = {
                partition: opened.fold.changes(now_s=now_s)
                for partition, opened in self._partitions.items()
            }
            try:
                async with asyncio.timeout(_ROUND_S):
                    await self._settle(changes)
            except MustStop:
                raise
            except Exception as error:
                raise MustStop(f"a round of writes failed: {error!r}") from error

    async def _settle(self, changes: Mapping[int, Changes]) -> None:
        table = self._reach.table
        await _all(
            table.write(partition, key, value)
            for partition, change in changes.items()
            for key, value in change.writes
        )
        sends = [
            self._reach.outbox.send_and_wait(emit)
            for change in changes.values()
            for emit in change.emits
        ]
        await asyncio.gather(*sends)
        await _all(
            table.remove(partition, key)
            for partition, change in changes.items()
            for key in change.removals
        )

    def _due_s(self) -> float | None:
        dues = (opened.fold.due_at_s() for opened in self._partitions.values())
        return min((due_s for due_s in dues if due_s is not None), default=None)


async def _all(written: Iterable[Awaitable[Any]]) -> None:
    await asyncio.gather(*written)


def _timestamp_ms(message: Message) -> int:
    """Kafka's timestamp, unix ms; Faust keeps it in seconds."""
    return round(message.timestamp * 1_000)


def _raw(message: Message) -> Raw:
    """A delivered record as the rest of the runtime knows it."""
    return ConsumerRecord(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        timestamp=_timestamp_ms(message),
        timestamp_type=message.timestamp_type,
        key=message.key,
        value=message.value,
        checksum=None,
        serialized_key_size=message.serialized_key_size,
        serialized_value_size=message.serialized_value_size,
        headers=cast("Sequence[tuple[str, bytes]]", message.headers or ()),
    )
