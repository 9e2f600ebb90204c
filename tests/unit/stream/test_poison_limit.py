"""When poison stops a service."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.domain.errors import MustStop
from services.shared.stream.poison import MAX_CONSECUTIVE, WINDOW_RECORDS, PoisonLimit


def _stops_at(record_is_poison: list[bool]) -> int | None:
    limit = PoisonLimit(topic="t")
    for i, is_poison in enumerate(record_is_poison):
        try:
            limit.poison() if is_poison else limit.good()
        except MustStop:
            return i
    return None


def test_fifty_in_a_row_are_borne_and_the_next_one_is_not() -> None:
    """The message says where to look."""
    limit = PoisonLimit(topic="routed-requests")
    for _ in range(MAX_CONSECUTIVE):
        limit.poison()
    with pytest.raises(MustStop, match="routed-requests-dlq"):
        limit.poison()


def test_one_in_a_hundred_is_borne_for_ever() -> None:
    """Ten in any thousand."""
    assert _stops_at(([True] + [False] * 99) * 50) is None


def test_the_ratio_counts_once_there_are_a_thousand() -> None:
    """A few bad records at the start of a quiet topic are no alarm."""
    early = ([True] * 10 + [False]) * 4
    assert _stops_at(early) is None
    assert _stops_at([False] * 1000 + [True] * 11) == 1010


@given(st.lists(st.booleans(), max_size=2500))
def test_it_stops_exactly_when_one_of_the_two_rules_says_so(records: list[bool]) -> None:
    """Against counting anew at every record."""
    expected = None
    for i, is_poison in enumerate(records):
        row = records[max(0, i - MAX_CONSECUTIVE) : i + 1]
        window = records[max(0, i + 1 - WINDOW_RECORDS) : i + 1]
        too_long = len(row) > MAX_CONSECUTIVE and all(row)
        too_many = len(window) == WINDOW_RECORDS and sum(window) > WINDOW_RECORDS // 100
        if is_poison and (too_long or too_many):
            expected = i
            break
    assert _stops_at(records) == expected
