"""The windows of a partition: what is written, published and removed, and when."""

import pytest

from services.metrics_aggregator import counted_ids
from services.metrics_aggregator.decide import Policy
from services.metrics_aggregator.table_keys import (
    CountedIds,
    Position,
    ids_key,
    position_key,
    value_from,
)
from services.metrics_aggregator.windows import PUBLISH_EVERY_S
from services.shared.domain.errors import PoisonRecord
from services.shared.domain.events import UsageWindow
from services.shared.domain.topics import Topic
from services.shared.domain.usage_windows import OTHER
from services.shared.ports.folding import Changes, Logged
from tests.support.folded_table import FOREVER_S, Table, logged
from tests.support.terminals import T0_MS, answered

POLICY = Policy(grace_ms=20_000)


def table(policy: Policy = POLICY) -> Table:
    """An empty table."""
    return Table(policy=policy)


def published(changes: Changes) -> list[tuple[int, int, int]]:
    """Length, start after ``T0_MS`` in seconds, and requests of each record."""
    windows = [emit.event for emit in changes.emits]
    assert all(isinstance(window, UsageWindow) for window in windows)
    return sorted((w.window_s, (w.window_start - T0_MS) // 1_000, w.requests) for w in windows)  # type: ignore[attr-defined]


def test_records_are_gathered_before_they_are_written() -> None:
    """A round is due a second after its first record, however many follow."""
    windows = table().open()
    assert windows.due_at_s() is None

    for record in logged([answered(n) for n in range(3)]):
        windows.take(record, now_s=5.0 + record.offset / 10)

    assert windows.due_at_s() == 5.0 + POLICY.fold_s


def test_a_round_ends_with_the_position() -> None:
    """What the position stands for is written before it."""
    windows = table().open()
    for record in logged([answered(1), answered(2)]):
        windows.take(record, now_s=0.0)

    writes = windows.changes(now_s=1.0).writes

    assert [key for key, _ in writes][-1] == position_key(0)
    assert len(writes) == 2
    assert windows.changes(now_s=1.0).writes == []


def test_windows_are_published_in_time_and_not_more_often() -> None:
    """Short windows soon, long ones later; a window that stands still is not repeated."""
    windows = table().open()
    (record,) = logged([answered()])
    windows.take(record, now_s=0.0)

    assert published(windows.changes(now_s=1.0)) == []
    assert windows.due_at_s() == PUBLISH_EVERY_S[10]
    assert published(windows.changes(now_s=PUBLISH_EVERY_S[10])) == [(10, 0, 1)]
    assert published(windows.changes(now_s=PUBLISH_EVERY_S[60])) == [(60, 0, 1)]
    assert windows.due_at_s() == PUBLISH_EVERY_S[3_600]
    assert len(published(windows.changes(now_s=PUBLISH_EVERY_S[86_400]))) == 2
    assert windows.due_at_s() is None


def test_a_longer_window_holds_the_open_short_ones_too() -> None:
    """Its record is as fresh as theirs, before anything was merged."""
    windows = table().open()
    for record in logged([answered(1), answered(2, at_ms=T0_MS + 10_000)]):
        windows.take(record, now_s=0.0)

    assert published(windows.changes(now_s=FOREVER_S))[:3] == [(10, 0, 1), (10, 10, 1), (60, 0, 2)]


def test_a_closed_window_is_published_a_last_time_and_removed() -> None:
    """The table holds open windows alone; what was merged is in the longer ones."""
    there = table()
    windows = there.open()
    first, later = logged([answered(1), answered(2, at_ms=T0_MS + 30_000)])
    windows.take(first, now_s=0.0)
    there.apply(windows.changes(now_s=1.0))
    windows.take(later, now_s=1.5)

    changes = windows.changes(now_s=2.0)

    assert published(changes) == [(10, 0, 1)]
    assert [key.startswith(b'["window",0,10,') for key in changes.removals] == [True]
    there.apply(changes)
    assert sum(key.startswith(b'["window",0,10,') for key in there.entries) == 1
    assert published(windows.changes(now_s=FOREVER_S))[:2] == [(10, 30, 1), (60, 0, 2)]


def test_a_published_window_that_closes_unchanged_is_not_published_again() -> None:
    """One more record would say nothing new."""
    windows = table().open()
    first, later = logged([answered(1), answered(2, at_ms=T0_MS + 30_000)])
    windows.take(first, now_s=0.0)
    windows.changes(now_s=FOREVER_S)
    windows.take(later, now_s=0.0)

    assert published(windows.changes(now_s=0.1)) == []


def test_the_first_terminal_of_a_request_counts() -> None:
    """Later ones of the same request are passed over, whatever they say."""
    there = table()
    windows = there.open()
    for record in logged([answered(1), answered(1, outcome="failed"), answered(2)]):
        windows.take(record, now_s=0.0)

    assert there.verdicts == ["counted", "duplicate", "counted"]
    assert published(windows.changes(now_s=FOREVER_S))[0] == (10, 0, 2)


def test_a_delivered_record_is_folded_once() -> None:
    """What is delivered again in one life of the process changes nothing."""
    there = table()
    windows = there.open()
    (record,) = logged([answered()])
    windows.take(record, now_s=0.0)
    windows.take(record, now_s=0.0)

    assert there.verdicts == ["counted", "redelivered"]
    assert windows.next_offset == 1


def test_late_early_and_too_many_are_counted_and_told() -> None:
    """A window says how many of its requests belong elsewhere."""
    there = table(Policy(grace_ms=20_000, max_series=1))
    windows = there.open()
    for record in (
        Logged(answered(1, at_ms=T0_MS + 100_000), 0, T0_MS + 100_000),
        Logged(answered(2, at_ms=T0_MS), 1, T0_MS + 100_000),
        Logged(answered(3, at_ms=T0_MS + 9_000_000, feature="b"), 2, T0_MS + 100_000),
    ):
        windows.take(record, now_s=0.0)

    assert there.verdicts == ["counted", "late", "counted", "overflow", "early", "counted"]
    records = {
        (w.window_start - T0_MS, w.feature): (w.late, w.early)
        for emit in windows.changes(now_s=FOREVER_S).emits
        if isinstance(w := emit.event, UsageWindow) and w.window_s == 10
    }
    assert records == {
        (100_000, "search"): (0, 0),
        (80_000, "search"): (1, 0),
        (100_000, OTHER): (0, 1),
    }


def test_a_new_day_makes_room_for_other_series() -> None:
    """What is bounded is a day; what was known of closed days is forgotten."""
    there = table(Policy(grace_ms=20_000, max_series=1))
    windows = there.open()
    tomorrow_ms = T0_MS + 86_400_000
    for record in logged([answered(1), answered(2, at_ms=tomorrow_ms, feature="b")]):
        windows.take(record, now_s=0.0)

    assert there.verdicts == ["counted", "counted"]
    windows.changes(now_s=0.0)
    assert list(windows._known) == [tomorrow_ms - tomorrow_ms % 86_400_000]


def test_poison_changes_nothing_and_can_be_passed() -> None:
    """A record that cannot be counted holds nothing up."""
    there = table()
    windows = there.open()
    (poison,) = logged([answered(outcome="vanished")])

    with pytest.raises(PoisonRecord):
        windows.take(poison, now_s=0.0)
    assert windows.next_offset == 0
    windows.skip(0, now_s=0.0)
    windows.skip(0, now_s=0.0)

    assert windows.next_offset == 1
    there.apply(windows.changes(now_s=FOREVER_S))
    assert there.open().next_offset == 1
    assert there.verdicts == []


def test_what_was_recovered_is_published_anew() -> None:
    """Nobody knows which records the process before had written."""
    there = table()
    windows = there.open()
    (record,) = logged([answered()])
    windows.take(record, now_s=0.0)
    there.apply(windows.changes(now_s=1.0))

    again = there.open()

    assert again.due_at_s() == 0.0
    assert [size for size, _, _ in published(again.changes(now_s=0.0))] == [10, 60, 3_600, 86_400]


def test_ids_are_sealed_with_the_round_and_forgotten_beyond_the_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The position stays small, and so does the table."""
    monkeypatch.setattr(counted_ids, "BLOCK_IDS", 2)
    there = table(Policy(remembered_ids=2))
    windows = there.open()
    for record in logged([answered(n) for n in range(6)]):
        windows.take(record, now_s=0.0)
        if record.offset % 2:
            there.apply(windows.changes(now_s=FOREVER_S))

    assert [key for key in there.entries if key.startswith(b'["ids"')] == [ids_key(0, 4)]
    for record in logged([answered(5), answered(0)], first=6):
        windows.take(record, now_s=0.0)
    assert there.verdicts[6:] == ["duplicate", "counted"]


def test_ids_sealed_in_a_round_that_did_not_end_are_not_believed() -> None:
    """Their records come again, and the block is sealed again under the same key."""
    there = table()
    there.entries = {
        ids_key(0, 0): value_from(CountedIds(9, b"x" * 8)),
        position_key(0): value_from(Position(through_offset=4, first_offset=0, ids=b"y" * 8)),
    }

    windows = there.open()

    assert int.from_bytes(b"y" * 8, "little") in windows._ids
    assert int.from_bytes(b"x" * 8, "little") not in windows._ids


def test_keys_of_records_tell_windows_partitions_and_dimensions_apart() -> None:
    """Compaction keeps the newest record of each, and of nothing more."""
    there = table()
    windows = there.open()
    for record in logged(
        [answered(1), answered(2, feature="b"), answered(3, at_ms=T0_MS + 90_000)]
    ):
        windows.take(record, now_s=0.0)

    emits = windows.changes(now_s=FOREVER_S).emits

    assert len({emit.key for emit in emits}) == len(emits)
    assert {emit.topic for emit in emits} == {Topic.USAGE_WINDOWS}
    assert f'["acme","small","simulator","sim-chat","gold","b","chat",10,{T0_MS},0]' in {
        emit.key for emit in emits
    }
