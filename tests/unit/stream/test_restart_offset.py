"""Where a group goes on whose offset is outside of the log."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.stream.client import REPLAYED_RECORDS, restart_offset

MANY = 50 * REPLAYED_RECORDS


@pytest.mark.parametrize(
    ("offset", "start", "end", "expected"),
    [
        (3, 10, 20, 10),
        (25, 10, 20, 10),
        (MANY + 1, 0, MANY, MANY - REPLAYED_RECORDS),
        (MANY + 1, MANY - 5, MANY, MANY - 5),
        (7, 0, 0, 0),
    ],
)
def test_it_is_the_start_or_not_far_from_the_end(
    offset: int, start: int, end: int, expected: int
) -> None:
    """Forgotten records are passed over; only so many before a lost end are taken again."""
    assert restart_offset(offset, start=start, end=end) == expected


@given(st.integers(0, MANY), st.integers(0, MANY), st.integers(0, MANY))
def test_it_is_a_place_in_the_log(offset: int, start: int, length: int) -> None:
    """Wherever a group stood, it goes on within the log."""
    assert start <= restart_offset(offset, start=start, end=start + length) <= start + length
