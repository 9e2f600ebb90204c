"""What is known of the log beside what Faust delivers."""

from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from services.shared.stream import faust_transport
from services.shared.stream.faust_stalls import Stalls
from services.shared.stream.faust_transport import Holes

HERE, THERE = TP("results", 0), TP("results", 1)

offsets = st.lists(st.integers(min_value=0, max_value=60), unique=True, min_size=1).map(sorted)


@given(offsets, st.integers(min_value=1, max_value=7))
def test_exactly_what_the_log_left_out_is_a_hole(given_offsets: list[int], poll: int) -> None:
    """Property: of every two offsets, the second follows the first if nothing is between them."""
    holes = Holes()
    holes.start(HERE, 0)
    for first in range(0, len(given_offsets), poll):
        holes.note(HERE, given_offsets[first : first + poll])

    positions = [0, *(offset + 1 for offset in given_offsets)]
    for expected, following in zip(positions, given_offsets, strict=False):
        assert holes.is_next(HERE, expected, following) == (expected != following)
    for expected in positions:
        for offset in given_offsets:
            if any(expected <= between < offset for between in given_offsets):
                assert not holes.is_next(HERE, expected, offset)


def test_a_partition_that_goes_on_elsewhere_is_judged_anew() -> None:
    """What was left out before says nothing of what is left out now."""
    holes = Holes()
    holes.start(HERE, 0)
    holes.note(HERE, [5])
    assert holes.is_next(HERE, 0, 5)

    holes.start(HERE, 3)

    assert not holes.is_next(HERE, 0, 5)
    holes.note(HERE, [])
    holes.note(HERE, [5])
    assert holes.is_next(HERE, 3, 5)


def test_partitions_are_told_apart_and_foreign_ones_passed_over() -> None:
    """Changelogs come out of the same client."""
    holes = Holes()
    holes.start(HERE, 0)
    holes.note(THERE, [7])
    holes.note(HERE, [7])

    assert holes.is_next(HERE, 0, 7)
    assert not holes.is_next(THERE, 0, 7)


def test_the_memory_of_holes_is_bounded() -> None:
    """A log of nothing but transactions leaves one behind every record."""
    holes = Holes()
    holes.start(HERE, 0)
    many = faust_transport._REMEMBERED_HOLES + 5
    holes.note(HERE, list(range(1, 2 * many + 1, 2)))

    assert len(holes._holes[HERE]) == faust_transport._REMEMBERED_HOLES
    assert holes.is_next(HERE, 2 * many - 2, 2 * many - 1)


def test_a_partition_stands_still_when_records_wait_and_none_is_taken() -> None:
    """Idle partitions and busy ones do not."""
    stalls = Stalls()
    waiting = {("results", "0"): 5.0, ("results", "1"): 0.0}

    assert stalls.longest_s({HERE: 10, THERE: 4}, waiting, now_s=100.0) == 0.0
    assert stalls.longest_s({HERE: 10, THERE: 4}, waiting, now_s=130.0) == 30.0
    assert stalls.longest_s({HERE: 11, THERE: 4}, waiting, now_s=140.0) == 0.0
    assert stalls.longest_s({HERE: 11}, {}, now_s=300.0) == 0.0
    assert stalls.longest_s({HERE: 11}, waiting, now_s=310.0) == 10.0
    assert stalls.longest_s({}, {}, now_s=400.0) == 0.0
