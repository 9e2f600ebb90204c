"""What stands in the table can be read again, and a key names its partition."""

import msgspec
import pytest

from services.metrics_aggregator.decide import facts_from, fold
from services.metrics_aggregator.table_keys import (
    CountedIds,
    Position,
    WindowId,
    ids_key,
    partition_of,
    position_key,
    read_entries,
    value_from,
    window_key,
)
from services.shared.domain.usage_windows import Dimensions, Tally
from tests.support.terminals import T0_MS, answered, failed

WINDOW = WindowId(10, T0_MS, Dimensions("acmé", 'a"b', "p", "m", "gold", "search", "chat"))


def tally() -> Tally:
    """A tally with something in every field."""
    made = Tally(through_offset=17, merged_through=T0_MS)
    for terminal in (answered(), failed(2)):
        fold(made, terminal, facts_from(terminal))
    return made


def test_a_partitions_entries_can_be_read_again() -> None:
    """Tallies, ids and position come back as they were."""
    position = Position(through_offset=17, watermark_ms=T0_MS, first_offset=3, ids=b"12345678")
    block = CountedIds(9, b"87654321")

    entries = read_entries(
        [
            (window_key(4, WINDOW), value_from(tally())),
            (ids_key(4, 0), value_from(block)),
            (position_key(4), value_from(position)),
        ]
    )

    assert entries.windows == {WINDOW: tally()}
    assert entries.ids == {0: block}
    assert entries.position == position


def test_a_tally_of_before_a_counter_was_added_can_be_read() -> None:
    """Windows that are open while a process is replaced lose nothing; the counter begins at 0."""
    stored = msgspec.msgpack.decode(value_from(tally()))
    entries = read_entries([(window_key(4, WINDOW), msgspec.msgpack.encode(stored[:-1]))])
    (read,) = entries.windows.values()
    assert (read, read.joined) == (tally(), 0)


def test_a_partition_that_was_never_folded_begins_before_its_first_record() -> None:
    """No entries is a state like any."""
    assert read_entries([]).position == Position(through_offset=-1)


@pytest.mark.parametrize("key", [window_key(4, WINDOW), ids_key(4, 0), position_key(4)])
def test_every_key_names_its_partition(key: bytes) -> None:
    """So the table's part of a partition is found, and no two partitions share a key."""
    assert partition_of(key) == 4


def test_keys_are_text_that_people_can_read() -> None:
    """An operator reads the changelog with any tool."""
    assert position_key(4) == b'["position",4]'
    assert window_key(0, WINDOW).startswith(b'["window",0,10,')


def test_a_key_of_a_later_version_is_not_passed_over() -> None:
    """Counting on without what it says could be wrong, so it is refused."""
    with pytest.raises(ValueError, match="does not know"):
        read_entries([(b'["budget",0]', b"")])


def test_a_tally_with_fewer_fields_is_one_of_an_older_version() -> None:
    """Fields are added at the end; what an older version wrote is read with defaults."""
    fields = msgspec.msgpack.decode(value_from(Tally(through_offset=5, requests=3)))
    older = msgspec.msgpack.encode(fields[:-1])

    read = read_entries([(window_key(0, WINDOW), older)]).windows[WINDOW]

    assert read == Tally(through_offset=5, requests=3)
