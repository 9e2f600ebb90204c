"""When a disk is too full."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.domain.disk import FILLING_RATIO, FULL_RATIO, DiskLevel, disk_level

OK, FILLING, FULL = DiskLevel.OK, DiskLevel.FILLING, DiskLevel.FULL


@pytest.mark.parametrize(
    ("before", "used_ratio", "now"),
    [
        (OK, 0.0, OK),
        (OK, 0.799, OK),
        (OK, 0.80, FILLING),
        (OK, 0.899, FILLING),
        (OK, 0.90, FULL),
        (OK, 1.0, FULL),
        (FILLING, 0.79, FILLING),
        (FILLING, 0.77, OK),
        (FILLING, 0.89, FILLING),
        (FILLING, 0.90, FULL),
        (FULL, 0.90, FULL),
        (FULL, 0.89, FULL),
        (FULL, 0.87, FILLING),
        (FULL, 0.79, FILLING),
        (FULL, 0.77, OK),
    ],
)
def test_thresholds(before: DiskLevel, used_ratio: float, now: DiskLevel) -> None:
    """From 80 % on it fills, from 90 % on it is full; either ends only a little below."""
    assert disk_level(used_ratio, before=before) is now


@given(
    first=st.floats(0, 1),
    before=st.sampled_from(DiskLevel),
    wobble=st.lists(st.floats(-0.0099, 0.0099), max_size=9),
)
def test_a_small_wobble_changes_the_level_once_at_most(
    first: float, before: DiskLevel, wobble: list[float]
) -> None:
    """A share that moves by less than the hysteresis does not flutter."""
    levels = [disk_level(first, before=before)]
    for change in wobble:
        levels.append(disk_level(first + change, before=levels[-1]))
    changes = sum(a is not b for a, b in pairwise(levels))
    assert changes <= 1


@given(before=st.sampled_from(DiskLevel), used_ratio=st.floats(0, 1))
def test_it_is_never_late(before: DiskLevel, used_ratio: float) -> None:
    """Whatever came before, a threshold that is reached counts at once."""
    level = disk_level(used_ratio, before=before)
    assert level is FULL or used_ratio < FULL_RATIO
    assert level is not OK or used_ratio < FILLING_RATIO
