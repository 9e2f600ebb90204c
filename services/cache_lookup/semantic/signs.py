"""What is told by signs, letter case and tense, which words of meaning do not show."""

import re

from services.cache_lookup.semantic.words import Words, once_a_text

_SIGN = re.compile(
    r"(?<!\S)-{1,2}[A-Za-z][\w-]*"  # an option of a command; its case counts
    r"|(?<![\w-])-\s?(?=\d)|(?<=\d)\s-\s"  # minus, neither a hyphen nor a dash
    r"|[<>=+*^|!&-]*[<>=+*^|][<>=+*^|!&-]*|&&+"
)
_BITS = re.compile(r"(?<![A-Za-z])[KMGT]i?[bB](?:ps|/s)?\b")
_PAST = frozenset({"was", "were", "did", "had"})
_PRESENT = frozenset({"is", "are", "am", "do", "does", "has", "have"})
_FUTURE = frozenset({"will"})


def another_sign(asked: str, cached: str) -> bool:
    """Operators, signs of numbers or options of commands differ, or bits stand for bytes."""
    mine, theirs = _bits(asked), _bits(cached)
    return _signs(asked) != _signs(cached) or (bool(mine and theirs) and mine != theirs)


@once_a_text
def _signs(text: str) -> list[str]:
    return sorted(sign.strip() for sign in _SIGN.findall(text))


@once_a_text
def _bits(text: str) -> frozenset[str]:
    return frozenset(_BITS.findall(text))


def another_tense(one: Words, other: Words) -> bool:
    """The same is said of both, but of the past, the present or the future."""
    if set(one.content) ^ set(other.content):
        return False
    mine, theirs = _tense(one), _tense(other)
    return bool(mine) and bool(theirs) and mine.isdisjoint(theirs)


@once_a_text
def _tense(words: Words) -> frozenset[str]:
    found = {
        name
        for name, signs in (("past", _PAST), ("future", _FUTURE))
        if not signs.isdisjoint(words.tokens)
    }
    return frozenset(found or ({"present"} if not _PRESENT.isdisjoint(words.tokens) else ()))
