"""Regular expressions of callers, held against texts of models."""

import time
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.model_caller.levers.patterns import MAX_MATCHED_CHARS, NotMatched, matches
from services.model_caller.levers.schemas import why_not

LONG = "a" * (MAX_MATCHED_CHARS - 1) + "b"
EXPLOSIVE = ["^(a|aa)+$", "^(a|a)*$", "^(a+)+$", "a*a*a*a*a*c", r"^(\w+\s?)*$!"]
PATTERNS = ["^a", "b$", "^[ab]{2,3}$", r"\d+", "a|b", "x"]
NAMES = ["a", "ab", "b", "ba", "7", "x"]
RULES: list[Any] = [True, False, {"type": "string"}, {"maximum": 3}]


@pytest.mark.parametrize("pattern", EXPLOSIVE)
def test_no_pattern_takes_long(pattern: str) -> None:
    """Where a backtracking engine works for longer than the world stands; also for names."""
    began_s = time.monotonic()
    assert not matches(pattern, LONG)
    assert (
        why_not({"pattern": pattern}, LONG) == "the value at '/' is against the schema's 'pattern'"
    )
    names = {"patternProperties": {pattern: False}, "additionalProperties": True}
    assert why_not(names, {LONG: 1}) is None
    assert time.monotonic() - began_s < 5


@pytest.mark.parametrize("pattern", ["(?=a)a", r"(a)\1", "[a", "a{1,5000}"])
def test_what_is_not_known_is_not_checked(pattern: str) -> None:
    """An answer that could not be checked is not called wrong."""
    with pytest.raises(NotMatched):
        matches(pattern, "b")
    assert why_not({"pattern": pattern}, "b") is None
    assert why_not({"patternProperties": {pattern: False}}, {"b": 1}) is None


def test_a_text_that_is_very_long_is_not_checked() -> None:
    """Nor is it called wrong."""
    assert why_not({"pattern": "^b"}, LONG + "b") is None


def test_what_is_left_over_needs_no_pattern() -> None:
    """Properties that nothing else has evaluated are checked where no name is held to a pattern."""
    closed: dict[str, Any] = {"properties": {"a": True}, "unevaluatedProperties": False}
    assert why_not(closed, {"a": 1}) is None
    assert "unevaluatedProperties" in str(why_not(closed, {"b": 1}))
    matched = {**closed, "allOf": [{"patternProperties": {"^b": True}}]}
    assert why_not(matched, {"c": 1}) is None, "not checked"


@given(
    schema=st.fixed_dictionaries(
        {},
        optional={
            "pattern": st.sampled_from(PATTERNS),
            "properties": st.dictionaries(st.sampled_from(NAMES), st.sampled_from(RULES)),
            "patternProperties": st.dictionaries(
                st.sampled_from(PATTERNS), st.sampled_from(RULES), max_size=2
            ),
            "additionalProperties": st.sampled_from(RULES),
        },
    ),
    value=st.sampled_from(NAMES)
    | st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["a", 2, 5])),
)
def test_it_judges_as_the_library_does(schema: dict[str, Any], value: Any) -> None:
    """For patterns that both engines know."""
    is_valid = jsonschema.Draft202012Validator(schema).is_valid(value)
    assert (why_not(schema, value) is None) == is_valid
