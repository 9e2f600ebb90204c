"""A table and a topic as a crash leaves them, and what they should hold in the end."""

from collections.abc import Iterable, Sequence

from services.metrics_aggregator.decide import (
    BASE_S,
    MERGED_S,
    Policy,
    admit,
    dimensions_from,
    facts_from,
    fold,
    place,
    window_start,
)
from services.metrics_aggregator.table_keys import WindowId, read_entries
from services.metrics_aggregator.windows import PartitionWindows, Verdict
from services.shared.domain.events import InferenceFinished, UsageWindow
from services.shared.domain.usage_windows import Dimensions, Tally, record_of
from services.shared.ports.folding import Changes, Logged

Published = dict[WindowId, UsageWindow]
FOREVER_S = 1e9


class Table:
    """What survives a process: the table, and the newest record of each window."""

    def __init__(self, *, policy: Policy, partition: int = 0) -> None:
        """Start empty."""
        self.entries: dict[bytes, bytes] = {}
        self.published: dict[str, UsageWindow] = {}
        self.verdicts: list[Verdict] = []
        self._policy = policy
        self._partition = partition

    def open(self) -> PartitionWindows:
        """A new process on what is there."""
        return PartitionWindows(
            self._partition,
            read_entries(self.entries.items()),
            self._policy,
            note=self.verdicts.append,
        )

    def apply(self, changes: Changes, *, steps: int | None = None) -> bool:
        """Make changes durable, up to a crash after so many steps; whether all are."""
        done = 0
        for key, value in changes.writes:
            if done == steps:
                return False
            self.entries[key] = value
            done += 1
        for emit in changes.emits:
            if done == steps:
                return False
            assert isinstance(emit.event, UsageWindow)
            self.published[emit.key] = emit.event
            done += 1
        for key in changes.removals:
            if done == steps:
                return False
            self.entries.pop(key, None)
            done += 1
        return True

    def latest(self) -> Published:
        """The newest record of each window."""
        return {
            WindowId(
                w.window_s,
                w.window_start,
                Dimensions(*(getattr(w, name) for name in Dimensions._fields)),
            ): w
            for w in self.published.values()
        }


def steps_of(changes: Changes) -> int:
    """Number of steps after which a crash may come."""
    return len(changes.writes) + len(changes.emits) + len(changes.removals)


def recompute(
    log: Sequence[Logged[InferenceFinished]], *, policy: Policy, partition: int = 0
) -> Published:
    """What a partition's windows should be: one pass over its log, every length by itself."""
    ended: set[str] = set()
    tallies: dict[WindowId, Tally] = {}
    known: dict[int, dict[str, set[Dimensions]]] = {}
    watermark_ms = 0
    for logged in log:
        finished = logged.event
        if finished.request_id in ended:
            continue
        ended.add(finished.request_id)
        placed = place(
            finished.finished_at,
            logged_at_ms=logged.at_ms,
            watermark_ms=watermark_ms,
            grace_ms=policy.grace_ms,
        )
        watermark_ms = placed.watermark_ms
        today = known.setdefault(window_start(placed.start_ms, MERGED_S[-1]), {})
        dimensions = admit(dimensions_from(finished), today, policy)
        today.setdefault(dimensions.tenant, set()).add(dimensions)
        for size_s in (BASE_S, *MERGED_S):
            window = WindowId(size_s, window_start(placed.start_ms, size_s), dimensions)
            tally = fold(tallies.setdefault(window, Tally()), finished, facts_from(finished))
            tally.late += placed.is_late
            tally.early += placed.is_early
            tally.through_offset = logged.offset
    return {
        window: record_of(
            tally,
            window.dimensions,
            start_ms=window.start_ms,
            size_s=window.size_s,
            partition=partition,
        )
        for window, tally in tallies.items()
    }


def logged(
    terminals: Iterable[InferenceFinished], *, at_ms: int | None = None, first: int = 0
) -> list[Logged[InferenceFinished]]:
    """Terminals as the log has them: appended when they ended, or all at one time."""
    return [
        Logged(terminal, offset, terminal.finished_at if at_ms is None else at_ms)
        for offset, terminal in enumerate(terminals, start=first)
    ]
