"""The adaptive limit of calls at once."""

from hypothesis import given
from hypothesis import strategies as st

from services.model_caller.limit import ROUNDS, SHRINK, Limit, limit_of


def test_it_starts_at_the_most() -> None:
    """Only a provider's own word lowers it."""
    limit = limit_of(64)
    assert limit.calls == 64
    assert limit.after_answer(in_flight=64) == limit


def test_overload_shrinks_what_is_in_use() -> None:
    """A limit far above the calls under way would take long to matter."""
    limit = limit_of(512).after_overload(in_flight=40, started_ms=0, now_ms=10)
    assert limit.calls == int(40 * SHRINK)


def test_calls_of_one_congestion_shrink_it_once() -> None:
    """Those that were under way together say the same thing."""
    first = limit_of(100).after_overload(in_flight=100, started_ms=0, now_ms=10)
    assert first.after_overload(in_flight=99, started_ms=5, now_ms=11) == first
    again = first.after_overload(in_flight=75, started_ms=11, now_ms=20)
    assert again.calls == int(75 * SHRINK)


def test_it_grows_only_while_it_is_used() -> None:
    """An idle provider proves nothing."""
    limit = Limit(most=64, size=10.0)
    assert limit.after_answer(in_flight=4) == limit
    assert limit.after_answer(in_flight=5).size == 10.1


def test_it_comes_back_in_a_bounded_number_of_rounds() -> None:
    """From one call to the most, where all calls are answered."""
    limit = Limit(most=512, size=1.0)
    for _ in range(ROUNDS + 8):
        for _ in range(limit.calls):
            limit = limit.after_answer(in_flight=limit.calls)
    assert limit.calls == 512


@given(
    most=st.integers(1, 5000),
    steps=st.lists(st.tuples(st.booleans(), st.integers(1, 5000)), max_size=80),
)
def test_it_stays_between_one_and_the_most(most: int, steps: list[tuple[bool, int]]) -> None:
    """Whatever comes."""
    limit = limit_of(most)
    for now_ms, (is_good, in_flight) in enumerate(steps):
        if is_good:
            limit = limit.after_answer(in_flight=in_flight)
        else:
            limit = limit.after_overload(in_flight=in_flight, started_ms=now_ms, now_ms=now_ms)
        assert 1 <= limit.calls <= most
