"""How long answers may be."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.model_caller.levers.caps import Cap, cap_of
from services.model_caller.levers.shaping import capped
from services.shared.domain.configuration_output import FeatureOutput

NOTHING = FeatureOutput()


def says(default: int = 0, most: int = 0) -> FeatureOutput:
    """What an alias or a feature says."""
    return FeatureOutput(default_max_tokens=default, max_tokens=most)


@pytest.mark.parametrize(
    ("wanted", "alias", "feature", "cap"),
    [
        (0, NOTHING, NOTHING, None),
        (9, NOTHING, NOTHING, None),
        (0, says(50), NOTHING, Cap(50, "default")),
        (0, says(50), says(20), Cap(20, "default")),
        (9, says(50), says(20), None),
        (0, says(most=100), NOTHING, Cap(100, "cap")),
        (400, says(most=100), NOTHING, Cap(100, "cap")),
        (100, says(most=100), NOTHING, None),
        (400, says(most=100), says(most=80), Cap(80, "cap")),
        (0, says(50, 30), NOTHING, Cap(30, "cap")),
    ],
)
def test_caps(wanted: int, alias: FeatureOutput, feature: FeatureOutput, cap: Cap | None) -> None:
    """The caller's own, unless there is a smaller one, or he names none."""
    assert cap_of(wanted, alias, feature) == cap


COUNTS = st.integers(0, 1000)


@given(COUNTS, COUNTS, COUNTS, COUNTS, COUNTS)
def test_a_cap_never_raises_what_the_caller_asked_for(
    wanted: int, one: int, two: int, three: int, four: int
) -> None:
    """Nor is it above any largest cap."""
    cap = cap_of(wanted, says(one, two), says(three, four))
    effective = wanted if cap is None else cap.max_tokens
    assert not wanted or effective <= wanted
    assert all(not limit or 0 < effective <= limit for limit in (two, four))


@pytest.mark.parametrize(
    ("body", "operation", "expected"),
    [
        ({}, "chat", {"max_completion_tokens": 7}),
        ({"max_tokens": 9}, "chat", {"max_tokens": 7}),
        ({"max_completion_tokens": 9}, "chat", {"max_completion_tokens": 7}),
        ({"max_tokens": None}, "chat", {"max_tokens": None, "max_completion_tokens": 7}),
        ({"max_tokens": 9}, "text_completion", {"max_tokens": 7}),
        ({}, "text_completion", {"max_tokens": 7}),
    ],
)
def test_a_cap_stands_where_the_caller_s_stood(
    body: dict[str, int], operation: str, expected: dict[str, int]
) -> None:
    """Everything else is as he wrote it."""
    raw = json.dumps({"model": "small", "seed": 1.50, **body}).encode()
    shaped = capped(raw, operation, Cap(7, "cap"))
    assert json.loads(shaped) == {"model": "small", "seed": 1.5, **expected}
