"""The windows of one partition of ``inference-results``. Pure: no I/O, no clock.

Why nothing is counted twice, or not at all, whatever dies when:

- What is counted where follows from the partition's records in the order of the log (``decide``).
- Each round of writes ends with the partition's position. A table that holds the position holds
  all that was written before, so reading goes on behind it and the committed offset of the group
  does not matter: what is delivered again is passed over.
- Of a round whose position was not written, some tallies may have been. Each says how far it
  counts, so the records that it knows are not added again; a longer window says which 10-s windows
  it holds.
- Ids counted and the partition's time are part of the position: the same requests are found to be
  repetitions, and the same ones late, as the first time.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final, Literal

import msgspec

from services.metrics_aggregator.counted_ids import CountedMemory, id_hash
from services.metrics_aggregator.decide import (
    BASE_S,
    MERGED_S,
    Placement,
    Policy,
    admit,
    dimensions_from,
    facts_from,
    fold,
    is_closed,
    place,
    window_start,
)
from services.metrics_aggregator.table_keys import (
    Entries,
    Position,
    WindowId,
    ids_key,
    position_key,
    value_from,
    window_key,
)
from services.shared.domain.emit import Emit
from services.shared.domain.events import InferenceFinished
from services.shared.domain.topics import Topic
from services.shared.domain.usage_windows import Dimensions, Tally, record_of
from services.shared.ports.folding import Changes, Logged

PUBLISH_EVERY_S: Final = {10: 3.0, 60: 10.0, 3_600: 30.0, 86_400: 60.0}
"""How long an open window that changed may go unpublished, seconds, by its length."""

_DAY_S: Final = MERGED_S[-1]

Verdict = Literal["counted", "duplicate", "redelivered", "late", "early", "overflow"]


class _Open(msgspec.Struct):
    """An open window of one set of dimensions.

    Attributes:
        window: Which one.
        tally: What was counted; of a longer window, what was merged.
        longer: The longer windows that it will be merged into.
        publish_at_s: When its record is due, monotonic; None = the last one still holds.
        is_written: Whether the table holds the tally as it is.
    """

    window: WindowId
    tally: Tally
    longer: tuple["_Open", ...] = ()
    publish_at_s: float | None = None
    is_written: bool = True


class PartitionWindows:
    """What one partition counted, and what of it has to become durable."""

    def __init__(
        self, partition: int, entries: Entries, policy: Policy, note: Callable[[Verdict], None]
    ) -> None:
        """Go on where the table stands.

        Args:
            partition: Which one.
            entries: Its part of the table.
            policy: What is kept.
            note: Told what became of each record.
        """
        position = entries.position
        self._partition = partition
        self._policy = policy
        self._note = note
        self._through_offset = position.through_offset
        self._watermark_ms = position.watermark_ms
        self._ids = CountedMemory(
            sealed={
                first: block
                for first, block in entries.ids.items()
                if block.through_offset <= position.through_offset
            },
            newest=position.ids,
            first_offset=position.first_offset,
            capacity=policy.remembered_ids,
        )
        self._known: dict[int, dict[str, set[Dimensions]]] = {}
        self._open: dict[WindowId, _Open] = {}
        self._changed_at_s: float | None = None
        self._closed_before_ms = -1
        self._unwritten: list[_Open] = []
        self._unpublished: list[_Open] = []
        self._load(entries)

    @property
    def next_offset(self) -> int:
        """Offset of the first record that was not folded."""
        return self._through_offset + 1

    def take(self, logged: Logged[InferenceFinished], *, now_s: float) -> None:
        """Count a request, if this record is the first that ends it.

        Raises:
            PoisonRecord: It cannot be counted, and nothing of it was. Not retriable.
        """
        if logged.offset <= self._through_offset:
            self._note("redelivered")
            return
        facts = facts_from(logged.event)
        self._pass(logged.offset, now_s)
        hashed = id_hash(logged.event.request_id)
        if hashed in self._ids:
            self._note("duplicate")
            return
        self._ids.add(hashed)
        placement = place(
            logged.event.finished_at,
            logged_at_ms=logged.at_ms,
            watermark_ms=self._watermark_ms,
            grace_ms=self._policy.grace_ms,
        )
        self._watermark_ms = placement.watermark_ms
        opened = self._window_of(logged.event, placement)
        tally = opened.tally
        if logged.offset <= tally.through_offset:  # written by a round that did not end
            self._note("redelivered")
        else:
            fold(tally, logged.event, facts)
            tally.through_offset = logged.offset
            tally.late += placement.is_late
            tally.early += placement.is_early
            self._note("counted")
        self._mark(opened, now_s)

    def skip(self, offset: int, *, now_s: float) -> None:
        """Pass a record that will never be counted."""
        if offset > self._through_offset:
            self._pass(offset, now_s)

    def due_at_s(self) -> float | None:
        """When ``changes`` should be asked for; None = nothing changed."""
        times = [o.publish_at_s for o in self._unpublished if o.publish_at_s is not None]
        if self._changed_at_s is not None:
            times.append(self._changed_at_s + self._policy.fold_s)
        return min(times, default=None)

    def changes(self, *, now_s: float) -> Changes:
        """What has to become durable: tallies and position, then records, then removals."""
        closed = self._closed()
        self._merge(closed)
        writes = list(self._writes())
        emits = list(self._records(closed, now_s))
        removals = [window_key(self._partition, opened.window) for opened in closed]
        removals += [ids_key(self._partition, first) for first in self._ids.forget()]
        for opened in closed:
            del self._open[opened.window]
        self._unpublished = [o for o in self._unpublished if o.publish_at_s is not None]
        self._known = {
            day: known for day, known in self._known.items() if not self._is_closed(day, _DAY_S)
        }
        return Changes(writes=writes, emits=emits, removals=removals)

    # -- taking ----------------------------------------------------------------------------------

    def _pass(self, offset: int, now_s: float) -> None:
        self._through_offset = offset
        if self._changed_at_s is None:
            self._changed_at_s = now_s

    def _window_of(self, finished: InferenceFinished, placement: Placement) -> _Open:
        known = self._known.setdefault(window_start(placement.start_ms, _DAY_S), {})
        asked = dimensions_from(finished)
        dimensions = admit(asked, known, self._policy)
        if dimensions != asked:
            self._note("overflow")
        if placement.is_late:
            self._note("late")
        if placement.is_early:
            self._note("early")
        return self._opened(WindowId(BASE_S, placement.start_ms, dimensions))

    def _opened(self, window: WindowId) -> _Open:
        opened = self._open.get(window)
        if opened is None:
            opened = self._add(window, Tally())
        return opened

    def _add(self, window: WindowId, tally: Tally) -> _Open:
        longer: tuple[_Open, ...] = ()
        if window.size_s == BASE_S:
            longer = tuple(
                self._opened(
                    WindowId(size_s, window_start(window.start_ms, size_s), window.dimensions)
                )
                for size_s in MERGED_S
            )
        known = self._known.setdefault(window_start(window.start_ms, _DAY_S), {})
        known.setdefault(window.dimensions.tenant, set()).add(window.dimensions)
        opened = self._open[window] = _Open(window, tally, longer)
        return opened

    def _mark(self, opened: _Open, now_s: float) -> None:
        """Note that a 10-s window changed, and with it the longer ones that hold it."""
        if opened.is_written:
            opened.is_written = False
            self._unwritten.append(opened)
        for changed in (opened, *opened.longer):
            if changed.publish_at_s is None:
                changed.publish_at_s = now_s + PUBLISH_EVERY_S[changed.window.size_s]
                self._unpublished.append(changed)

    # -- loading and closing ---------------------------------------------------------------------

    def _load(self, entries: Entries) -> None:
        """Take over the table's windows; all are published again, as nobody knows which were."""
        for window in sorted(entries.windows, reverse=True):  # longer ones before their parts
            self._add(window, entries.windows[window])
        for opened in self._open.values():
            opened.publish_at_s = 0.0
            self._unpublished.append(opened)

    def _is_closed(self, start_ms: int, size_s: int) -> bool:
        return is_closed(
            start_ms,
            size_s,
            watermark_ms=self._watermark_ms,
            grace_ms=self._policy.grace_ms,
        )

    def _closed(self) -> list[_Open]:
        """Windows that nothing more is counted in, in the order of their lengths and starts."""
        first_open_ms = window_start(self._watermark_ms - self._policy.grace_ms, BASE_S)
        if first_open_ms == self._closed_before_ms:
            return []
        self._closed_before_ms = first_open_ms
        return sorted(
            (o for o in self._open.values() if self._is_closed(o.window.start_ms, o.window.size_s)),
            key=lambda opened: opened.window,
        )

    def _merge(self, closed: Iterable[_Open]) -> None:
        """Add closed 10-s windows to the longer ones, each once."""
        for part in closed:
            for whole in part.longer:
                if whole.tally.merged_through >= part.window.start_ms:
                    continue  # by a round that did not end
                whole.tally.absorb(part.tally)
                whole.tally.merged_through = part.window.start_ms
                if whole.is_written:
                    whole.is_written = False
                    self._unwritten.append(whole)

    # -- what becomes durable --------------------------------------------------------------------

    def _writes(self) -> Iterator[tuple[bytes, bytes]]:
        for opened in self._unwritten:
            opened.is_written = True
            yield window_key(self._partition, opened.window), value_from(opened.tally)
        self._unwritten.clear()
        sealed = self._ids.seal(through_offset=self._through_offset)
        if sealed is not None:
            first_offset, block = sealed
            yield ids_key(self._partition, first_offset), value_from(block)
        if self._changed_at_s is not None:
            self._changed_at_s = None
            position = Position(
                through_offset=self._through_offset,
                watermark_ms=self._watermark_ms,
                first_offset=self._ids.first_offset,
                ids=self._ids.newest,
            )
            yield position_key(self._partition), value_from(position)

    def _records(self, closed: Iterable[_Open], now_s: float) -> Iterator[Emit]:
        """Records of windows that are due, and the last ones of those that are closed."""
        last = {opened.window for opened in closed}
        due = [
            opened
            for opened in self._unpublished
            if opened.publish_at_s is not None
            and (opened.publish_at_s <= now_s or opened.window in last)
        ]
        parts = self._parts() if any(o.window.size_s != BASE_S for o in due) else {}
        for opened in due:
            opened.publish_at_s = None
            yield self._record(opened, parts.get(opened.window, ()))

    def _parts(self) -> dict[WindowId, list[_Open]]:
        """The 10-s windows that longer ones do not hold yet, by longer window."""
        parts: dict[WindowId, list[_Open]] = {}
        for opened in self._open.values():
            for whole in opened.longer:
                if whole.tally.merged_through < opened.window.start_ms:
                    parts.setdefault(whole.window, []).append(opened)
        return parts

    def _record(self, opened: _Open, parts: Iterable[_Open]) -> Emit:
        size_s, start_ms, dimensions = opened.window
        tally = opened.tally
        if parts:
            tally = Tally()
            for part in (opened, *parts):
                tally.absorb(part.tally)
        record = record_of(
            tally, dimensions, start_ms=start_ms, size_s=size_s, partition=self._partition
        )
        key = msgspec.json.encode((*dimensions, size_s, start_ms, self._partition)).decode()
        return Emit(topic=Topic.USAGE_WINDOWS, key=key, event=record)
