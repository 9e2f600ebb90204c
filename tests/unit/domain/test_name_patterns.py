"""Names and name patterns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.domain.name_patterns import NamePatterns, is_pattern, matches_any

VALUES = {"sim-*": 1, "sim-fast": 2, "sim-f*": 3, "*": 4}


@pytest.mark.parametrize(
    ("name", "pattern", "rest"),
    [
        ("sim-fast", "sim-fast", ""),
        ("sim-fastest", "sim-f*", "astest"),
        ("sim-slow", "sim-*", "slow"),
        ("sim-", "sim-*", ""),
        ("gpt-4o", "*", "gpt-4o"),
    ],
)
def test_the_exact_name_wins_then_the_longest_beginning(name: str, pattern: str, rest: str) -> None:
    """The match says which pattern it was and what its ``*`` stood for."""
    match = NamePatterns(VALUES).find(name)
    assert match is not None
    assert (match.pattern, match.value, match.rest) == (pattern, VALUES[pattern], rest)


def test_nothing_matches_what_nobody_named() -> None:
    """Without a fitting pattern there is no match; a pattern's own text is no exact name."""
    patterns = NamePatterns({"a": 1, "b*": 2})
    assert patterns.find("c") is None
    assert patterns.find("aa") is None


@given(st.permutations(list(VALUES)), st.text("sim-fatx", max_size=9))
def test_the_order_of_declaration_does_not_matter(order: list[str], name: str) -> None:
    """Any order of the same patterns finds the same."""
    reordered = NamePatterns({pattern: VALUES[pattern] for pattern in order})
    assert reordered.find(name) == NamePatterns(VALUES).find(name)


@pytest.mark.parametrize(
    ("name", "patterns", "matches"),
    [
        ("fast", ("fast",), True),
        ("fast", ("slow", "fa*"), True),
        ("fast", ("*",), True),
        ("fast", ("fas", "fast2", "x*"), False),
        ("fast", (), False),
    ],
)
def test_a_list_allows_names_and_patterns(
    name: str, patterns: tuple[str, ...], matches: object
) -> None:
    """A name is in the list when it is written there or begins like a pattern of it."""
    assert matches_any(name, patterns) is matches
    assert is_pattern("fa*")
    assert not is_pattern("f*a")
