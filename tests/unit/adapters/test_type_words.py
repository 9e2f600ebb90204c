"""Types in words."""

from decimal import Decimal
from typing import Annotated, Any

import msgspec
import pytest

from services.shared.adapters.type_words import describe_type
from services.shared.domain.configuration import Limits, OnUnknown
from services.shared.domain.configuration_types import Seconds


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        (bool, "true or false"),
        (int, "a whole number"),
        (str, "a text"),
        (Decimal, "an amount in USD"),
        (tuple[str, ...], "a list"),
        (Limits, "a section"),
        (OnUnknown, "one of retry, fail"),
        (int | None, "a whole number or nothing"),
        (Annotated[int, msgspec.Meta(ge=1)], "a whole number of at least 1"),
        (Annotated[int, msgspec.Meta(le=1)], "a whole number at most 1"),
        (Annotated[int, msgspec.Meta(ge=1, le=2_000)], "a whole number from 1 to 2,000"),
        (Seconds, "a number above 0 and at most 86,400"),
    ],
)
def test_a_type_is_said_with_its_bounds(expected: Any, words: str) -> None:
    """What people read is what they may write."""
    assert describe_type(expected) == words
