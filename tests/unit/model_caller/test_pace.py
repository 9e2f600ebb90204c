"""Calls under way at once, against providers of two kinds."""

from collections.abc import Callable

import pytest

from services.model_caller.pace import MOST_CALLS, Line, Pace

ALONE = Pace().after(took_ms=20.0, inputs=1, under_way=1, was_alone=True, is_full=False)


def settled(took_ms: Callable[[int, int], float], *, clients: int, rounds: int = 300) -> Pace:
    """The pace after many calls that share out so many clients."""
    pace = ALONE
    for _ in range(rounds):
        calls = int(pace.calls)
        inputs = max(1, clients // (calls + 1))
        pace = pace.after(
            took_ms=took_ms(calls, inputs),
            inputs=inputs,
            under_way=calls,
            was_alone=calls == 1,
            is_full=clients > calls * inputs,
        )
    return pace


def test_a_provider_that_works_one_call_after_another_gets_few_large_ones() -> None:
    """Calls beside one another would only wait for each other."""
    pace = settled(lambda calls, inputs: calls * (20.0 + 0.5 * inputs), clients=64)
    assert pace.calls < 2.5


def test_a_provider_that_works_calls_side_by_side_is_not_kept_waiting() -> None:
    """As many calls as there are clients may be under way."""
    pace = settled(lambda _calls, inputs: 20.0 + 0.5 * inputs, clients=64)
    assert pace.calls > 8


def test_a_provider_that_became_slow_is_measured_anew() -> None:
    """One call at a time shows what is its own time now, and then there are many again."""
    pace = settled(lambda _calls, inputs: 20.0 + 0.5 * inputs, clients=64)
    for _ in range(2_000):
        calls = int(pace.calls)
        pace = pace.after(
            took_ms=200.0, inputs=4, under_way=calls, was_alone=calls == 1, is_full=True
        )
    assert pace.calls > 3


def test_nobody_needs_more_calls_than_there_is_work_for() -> None:
    """Without others that wait the number stays, and it has an end."""
    assert ALONE.calls == 1.0
    pace = Pace(calls=MOST_CALLS, alone=ALONE.alone)
    after = pace.after(took_ms=20.0, inputs=1, under_way=9, was_alone=False, is_full=True)
    assert after.calls == MOST_CALLS


def test_nothing_is_concluded_before_a_call_ran_alone() -> None:
    """Nor from a call that took no time."""
    assert Pace().after(took_ms=9, inputs=1, under_way=2, was_alone=False, is_full=True) == Pace()
    assert ALONE.after(took_ms=0, inputs=1, under_way=2, was_alone=False, is_full=True) == ALONE


@pytest.mark.parametrize(("inputs", "ms"), [(1, 20.5), (10, 25.0), (65, 52.5)])
def test_the_line_finds_what_a_call_and_an_input_take(inputs: int, ms: float) -> None:
    """From calls of two sizes it tells those of any."""
    line = Line()
    for size in (1, 33, 1, 33):
        line = line.with_call(size, 20.0 + 0.5 * size)
    found = line.ms_of(inputs)
    assert found == pytest.approx(ms)
    assert Line().ms_of(1) is None


def test_larger_calls_are_not_taken_to_be_quicker() -> None:
    """Chance must not make a line that falls."""
    line = Line().with_call(1, 30.0).with_call(50, 20.0)
    assert line.ms_of(1000) == pytest.approx(25.0, abs=1.0)


def test_a_provider_that_is_overloaded_gets_half_as_many_calls() -> None:
    """One at least."""
    assert Pace(calls=9.0).after_overload().calls == 4.5
    assert Pace().after_overload().calls == 1.0
