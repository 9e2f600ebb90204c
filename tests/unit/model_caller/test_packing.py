"""Loads in calls."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.model_caller.packing import CallLimits, Load, first_call, first_fit

LIMITS = CallLimits(inputs=10, tokens=100)
LOADS = st.lists(st.builds(Load, st.integers(1, 15), st.integers(0, 150)), min_size=1, max_size=20)


@given(LOADS)
def test_every_load_is_in_one_call_and_no_call_is_too_large(loads: list[Load]) -> None:
    """But for a load that is too large for any: that one is alone."""
    calls = first_fit(loads, LIMITS)
    assert sorted(i for call in calls for i in call) == list(range(len(loads)))
    for call in calls:
        inputs, tokens = sum(loads[i].inputs for i in call), sum(loads[i].tokens for i in call)
        assert len(call) == 1 or (inputs <= LIMITS.inputs and tokens <= LIMITS.tokens)


@pytest.mark.parametrize(
    ("loads", "calls"),
    [
        ([Load(4, 10), Load(7, 10), Load(6, 10)], [[0, 2], [1]]),
        ([Load(1, 60), Load(1, 60), Load(1, 40)], [[0, 2], [1]]),
        ([Load(99, 1), Load(1, 1)], [[0], [1]]),
    ],
)
def test_a_load_goes_where_there_is_room_first(loads: list[Load], calls: list[list[int]]) -> None:
    """The first call holds the most urgent, and whoever still fits in."""
    assert first_fit(loads, LIMITS) == calls
    assert first_call(loads, LIMITS) == calls[0]
