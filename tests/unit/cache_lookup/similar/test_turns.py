"""Whose turn it is to be compared."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cache_lookup.similar.turns import MOST_TOGETHER, Turn, Waiting, paced, turn

NOW_S = 100.0
BOUND_S = 0.05


def waiting(name: str, *, left_ms: float = 50.0, priority: int = 0) -> Waiting[str]:
    """Somebody who has so much time left."""
    return Waiting(NOW_S + left_ms / 1000, priority, name)


def names(chosen: Turn[str]) -> tuple[list[str], list[str], list[str]]:
    """Who is compared now, later, not at all."""
    return (
        [it.work for it in chosen.now],
        [it.work for it in chosen.later],
        [it.work for it in chosen.late],
    )


def of(*all_waiting: Waiting[str], pace_ms: float) -> tuple[list[str], list[str], list[str]]:
    """The turn of these."""
    return names(turn(all_waiting, now_s=NOW_S, pace_s=pace_ms / 1000))


def test_all_are_compared_where_there_is_time() -> None:
    """In the order in which they came, the urgent first."""
    came = (waiting("a", priority=1), waiting("b", priority=0), waiting("c", priority=1))
    assert of(*came, pace_ms=1) == (["b", "a", "c"], [], [])


def test_sixteen_are_compared_at_once() -> None:
    """The others have time until then, or go on at once."""
    came = [waiting(str(number)) for number in range(20)]
    now, later, late = of(*came, pace_ms=1)
    assert (len(now), later, late) == (MOST_TOGETHER, ["16", "17", "18", "19"], [])
    now, later, late = of(*came, waiting("old", left_ms=20), pace_ms=2)
    assert (len(now), len(later), late) == (16, 4, ["old"])


def test_who_has_most_time_left_is_compared_first() -> None:
    """So that it is not in vain; who then has none left does not wait for that."""
    came = (waiting("old", left_ms=16), waiting("older", left_ms=12), waiting("new", left_ms=45))
    assert of(*came, pace_ms=10) == (["new"], ["old"], ["older"])


def test_as_many_are_compared_as_are_done_in_the_time_of_each() -> None:
    """An urgent one with little time has few beside it."""
    came = (
        waiting("urgent", left_ms=16),
        *(waiting(str(number), priority=1) for number in range(3)),
    )
    assert of(*came, pace_ms=5) == (["urgent", "0"], ["1", "2"], [])


@pytest.mark.parametrize("pace_ms", [40.0, 400.0])
def test_one_is_compared_where_nobody_seems_to_have_time(pace_ms: float) -> None:
    """It may be a mistake."""
    came = (waiting("old", left_ms=10), waiting("gone", left_ms=0), waiting("new", left_ms=30))
    assert of(*came, pace_ms=pace_ms) == (["new"], [], ["old", "gone"])
    assert of(waiting("gone", left_ms=-1), pace_ms=pace_ms) == ([], [], ["gone"])


@given(
    st.lists(st.tuples(st.floats(-10, 50), st.integers(0, 2)), max_size=60),
    st.floats(0, 200),
)
def test_everybody_is_somewhere(came: list[tuple[float, int]], pace_ms: float) -> None:
    """Once; nobody who has time is told to wait by a turn of nobody."""
    all_waiting = [
        waiting(str(number), left_ms=left_ms, priority=priority)
        for number, (left_ms, priority) in enumerate(came)
    ]
    now, later, late = of(*all_waiting, pace_ms=pace_ms)
    assert sorted(now + later + late) == sorted(it.work for it in all_waiting)
    assert len(now) <= MOST_TOGETHER
    assert now or not later


def test_the_pace_follows_what_is_measured() -> None:
    """Slowly, as one turn may have been disturbed."""
    assert paced(0.001, count=4, took_s=0.004) == 0.001
    assert paced(0.001, count=10, took_s=0.02) == pytest.approx(0.0012)
    pace_s = 0.05
    for _ in range(30):
        pace_s = paced(pace_s, count=1, took_s=0.001)
    assert pace_s == pytest.approx(0.001, rel=0.1)
