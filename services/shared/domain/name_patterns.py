"""Names and name patterns: a final ``*`` matches every name that begins so.

The exact name wins, then the pattern with the longest beginning, so the order in which they stand
in a file never matters.
"""

from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

import msgspec

WILDCARD = "*"

T = TypeVar("T")


class Match(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """What a name was found to be.

    Attributes:
        pattern: The name or pattern that matched.
        value: What stands under it.
        rest: What its ``*`` stood for; empty for an exact name.
    """

    pattern: str
    value: T
    rest: str = ""


class NamePatterns(Generic[T]):
    """Values by name or pattern, made once and then asked for every request."""

    def __init__(self, values: Mapping[str, T]) -> None:
        self._exact = {
            name: Match(pattern=name, value=value)
            for name, value in values.items()
            if not is_pattern(name)
        }
        beginnings = [(name[:-1], value) for name, value in values.items() if is_pattern(name)]
        self._beginnings = sorted(beginnings, key=lambda entry: (-len(entry[0]), entry[0]))

    def find(self, name: str) -> Match[T] | None:
        """The best match for a name; None when nothing matches."""
        exact = self._exact.get(name)
        if exact is not None:
            return exact
        for beginning, value in self._beginnings:
            if name.startswith(beginning):
                return Match(pattern=beginning + WILDCARD, value=value, rest=name[len(beginning) :])
        return None


def is_pattern(name: str) -> bool:
    """Whether a name is a pattern."""
    return name.endswith(WILDCARD)


def matches_any(name: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns matches the name."""
    return any(
        name.startswith(pattern[:-1]) if is_pattern(pattern) else name == pattern
        for pattern in patterns
    )
