"""Whether two questions say the same words in other roles: from A to B, from B to A."""

from collections.abc import Iterator
from itertools import combinations, takewhile

from services.cache_lookup.semantic.guard_rules import entities_of
from services.cache_lookup.semantic.names import NAMES, SERIES
from services.cache_lookup.semantic.vocabulary import (
    FUNCTION_WORDS,
    OPPOSITES,
    ROLES,
    SYMMETRIC,
    UNITS,
)
from services.cache_lookup.semantic.words import Words, once_a_text, stem

_PHRASE = 2
"""Words of a phrase that may change its side as a whole."""

_MOST_INVERTED = 0.3
"""Share of pairs of words whose order may be the other way round."""


def another_order(one: Words, other: Words) -> bool:
    """The same words in other roles: from A to B, from B to A."""
    return _swaps_roles(one, other) or _swaps_names(one, other) or _is_swapped(one, other)


def _swaps_roles(one: Words, other: Words) -> bool:
    mine, theirs = _roles(one), _roles(other)
    return any(
        mine[role] != theirs[role] and mine[role] in other.content and theirs[role] in one.content
        for role in mine.keys() & theirs.keys()
    ) or (_changes_sides(one, other) or _changes_sides(other, one))


def _changes_sides(one: Words, other: Words) -> bool:
    """What stands before a small word in the one stands after it in the other."""
    return not _links(one, 1).isdisjoint(
        (after, between, before) for before, between, after in _links(other, _PHRASE)
    )


@once_a_text
def _links(words: Words, reach: int) -> frozenset[tuple[str, str, str]]:
    """Words of meaning on both sides of a small one, such as ``text to speech``.

    Args:
        words: The question.
        reach: How many words on each side are looked at.
    """
    tokens = words.tokens
    return frozenset(
        (stem(before), between, stem(after))
        for place, between in enumerate(tokens)
        if between in FUNCTION_WORDS and between not in SYMMETRIC
        for before in _phrase(tokens[max(0, place - reach) : place][::-1])
        for after in _phrase(tokens[place + 1 : place + 1 + reach])
        if before != after
    )


def _phrase(tokens: tuple[str, ...]) -> Iterator[str]:
    """Words of meaning, up to the first small one."""
    return takewhile(lambda token: token not in FUNCTION_WORDS, tokens)


@once_a_text
def _roles(words: Words) -> dict[str, str]:
    """What follows each preposition that gives a role; ``to`` alone is mostly an infinitive's."""
    roles: dict[str, str] = {}
    tokens = words.tokens
    for index, role in enumerate(tokens):
        if role in ROLES and (role != "to" or "from" in tokens):
            after = next((word for word in tokens[index + 1 :] if word not in FUNCTION_WORDS), "")
            roles[role] = stem(after)
    return roles


def _is_symmetric(one: Words, other: Words) -> bool:
    return not SYMMETRIC.isdisjoint(one.tokens) and not SYMMETRIC.isdisjoint(other.tokens)


def _swaps_names(one: Words, other: Words) -> bool:
    """Two names that are in both come in another order."""
    if _is_symmetric(one, other):
        return False
    entities = {shape.lower() for shape in (*entities_of(one), *entities_of(other))}
    mine, theirs = (
        list(
            dict.fromkeys(
                UNITS.get(token) or NAMES.get(token) or stem(token)
                for token in words.tokens
                if _is_role(token, words, entities)
            )
        )
        for words in (one, other)
    )
    common = set(mine) & set(theirs)
    return [word for word in mine if word in common] != [word for word in theirs if word in common]


def _is_role(token: str, words: Words, entities: set[str]) -> bool:
    """Whether it matters before which other such word a word comes."""
    return (
        token in entities
        or token in NAMES
        or token in SERIES
        or token in UNITS
        or not OPPOSITES.get(token, frozenset()).isdisjoint(words.tokens)
    )


def _is_swapped(one: Words, other: Words) -> bool:
    """The same words of meaning in another order that no fronted clause explains."""
    mine, theirs = list(dict.fromkeys(one.content)), list(dict.fromkeys(other.content))
    if set(mine) != set(theirs) or mine == theirs or _is_symmetric(one, other):
        return False
    moved = [place for place, word in enumerate(mine) if theirs[place] != word]
    if len(moved) == 2:
        first, second = moved
        return second - first > 1 or _between(one, mine[first], mine[second]) == _between(
            other, mine[second], mine[first]
        )
    if any(mine[start:] + mine[:start] == theirs for start in range(len(mine))):
        return False
    places = [theirs.index(word) for word in mine]
    pairs = list(combinations(places, 2))
    return sum(before > after for before, after in pairs) >= _MOST_INVERTED * len(pairs)


def _between(words: Words, first: str, second: str) -> tuple[str, ...]:
    """What stands between two words of meaning."""
    stems = [stem(token) for token in words.tokens]
    return words.tokens[stems.index(first) + 1 : stems.index(second)]
