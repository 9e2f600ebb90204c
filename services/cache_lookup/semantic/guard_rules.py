"""The rules behind the guards, each over the words of both questions."""

import re
from collections.abc import Iterable

from services.cache_lookup.semantic.names import MEMBERS
from services.cache_lookup.semantic.vocabulary import (
    DIRECTIONS,
    FRACTIONS,
    FUNCTION_WORDS,
    NEGATIONS,
    NEGATIVE_PREFIXES,
    OPPOSITES,
    QUESTION_WORDS,
    SYMMETRIC,
)
from services.cache_lookup.semantic.words import Words, is_typo, numbers_of, stem, units_of

_QUOTED = re.compile(r"[\"“”«»`]([^\"“”«»`]+)[\"“”«»`]|(?<!\w)['‘]([^'‘’]+)['’](?!\w)")
_IDLE_NEGATIONS = re.compile(
    r"\b(?:i (?:do|did|can|could) not (?:know|understand|get it|figure|remember|think)|i am not sure"
    r"|not sure|or not|why not|no longer sure|if not|not only)\b"
)
_QUANTIFIERS = (
    frozenset({"all", "every", "each", "any"}),
    frozenset({"some", "few", "several"}),
    frozenset({"only", "just"}),
    frozenset({"most", "majority"}),
)


def another_payload(asked: str, cached: str) -> bool:
    """What stands in quotation marks is not the same, word for word."""
    return _payload(asked) != _payload(cached)


def _payload(text: str) -> list[str]:
    return sorted((one or other).casefold().strip(" .?!") for one, other in _QUOTED.findall(text))


def another_number(one: Words, other: Words) -> bool:
    """The numbers differ."""
    return numbers_of(one.tokens) != numbers_of(other.tokens)


def another_unit(one: Words, other: Words) -> bool:
    """Units or currencies differ where both questions name some."""
    mine, theirs = units_of(one.tokens), units_of(other.tokens)
    return bool(mine) and bool(theirs) and mine != theirs


def another_quantity(one: Words, other: Words) -> bool:
    """Halves, doubles and the like differ."""
    mine, theirs = FRACTIONS.intersection(one.tokens), FRACTIONS.intersection(other.tokens)
    return mine != theirs


def other_parity(one: Words, other: Words) -> bool:
    """The one is negated, the other is not."""
    return _negations(one) % 2 != _negations(other) % 2


def _negations(words: Words) -> int:
    text = _IDLE_NEGATIONS.sub(" ", " ".join(words.tokens))
    return sum(token in NEGATIONS for token in text.split())


def opposite(one: Words, other: Words) -> bool:
    """The one has a word, the other its opposite in its place."""
    mine, theirs = set(one.tokens), set(other.tokens)
    mine, theirs = mine - theirs, theirs - mine
    if any(not theirs.isdisjoint(OPPOSITES.get(token, ())) for token in mine):
        return True
    mine_stems, their_stems = {stem(token) for token in mine}, {stem(token) for token in theirs}
    return _is_prefixed(mine_stems, their_stems) or _is_prefixed(their_stems, mine_stems)


def _is_prefixed(stems: Iterable[str], others: set[str]) -> bool:
    return any(
        len(word) >= 3 and prefix + word in others for word in stems for prefix in NEGATIVE_PREFIXES
    )


def another_name(one: Words, other: Words) -> bool:
    """They name different members of a group: two days, two countries, two languages."""
    mine, theirs = _members(one), _members(other)
    return mine != theirs


def _members(words: Words) -> set[tuple[int, str]]:
    return {member for token in words.tokens for member in MEMBERS.get(token, ())}


def another_entity(one: Words, other: Words) -> bool:
    """A name, code or acronym of the one is not in the other."""
    return _lacks(one, other) or _lacks(other, one)


def _lacks(one: Words, other: Words) -> bool:
    there = {stem(token) for token in other.tokens}
    missing = [shape for shape in _entities(one) if stem(shape.lower()) not in there]
    if not missing:
        return False
    short = _initials(other.tokens)
    spelled = {word for token in other.tokens for word in _initials(one.tokens).get(token, ())}
    return any(
        shape.lower() not in short
        and shape.lower() not in spelled
        and not any(is_typo(stem(shape.lower()), word) for word in there)
        for shape in missing
    )


def _entities(words: Words) -> list[str]:
    """Words that look like names: capitals inside a sentence, capitals alone, digits in a word."""
    shapes = [shape for shape in words.shapes if shape.lower() not in FUNCTION_WORDS]
    lowered = sum(shape.islower() for shape in shapes)
    has_case = 2 * lowered >= len(shapes)
    first = words.shapes[0] if words.shapes else ""
    return [
        shape
        for shape in shapes
        if _is_code(shape)
        or (has_case and len(shape) > 1 and shape.isupper())
        or (has_case and shape[0].isupper() and shape is not first)
    ]


def _is_code(shape: str) -> bool:
    return not shape[0].isdigit() and any(map(str.isdigit, shape))


def _initials(tokens: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Acronyms that a text spells out, with the words behind each."""
    return {
        "".join(token[0] for token in tokens[start : start + length]): tokens[
            start : start + length
        ]
        for length in (2, 3, 4, 5)
        for start in range(len(tokens) - length + 1)
    }


def another_owner(one: Words, other: Words) -> bool:
    """The one asks of the asker, the other of whom is asked."""
    return (_owners(one) == {"i"} and _owners(other) == {"you"}) or (
        _owners(one) == {"you"} and _owners(other) == {"i"}
    )


_PERSONS = {
    "i": "i",
    "me": "i",
    "my": "i",
    "mine": "i",
    "you": "you",
    "your": "you",
    "yours": "you",
}


def _owners(words: Words) -> set[str]:
    return {_PERSONS[token] for token in words.tokens if token in _PERSONS}


def another_focus(one: Words, other: Words) -> bool:
    """The same is said of both, but who, when, where, why or how is asked."""
    if set(one.content) ^ set(other.content):
        return False
    mine, theirs = _focus(one), _focus(other)
    return bool(mine) and bool(theirs) and mine.isdisjoint(theirs)


def _focus(words: Words) -> frozenset[str]:
    found = QUESTION_WORDS.intersection(words.tokens)
    return found - {"what", "which"} or found


def another_order(one: Words, other: Words) -> bool:
    """The same words in other roles: from A to B, from B to A."""
    return _swaps_roles(one, other) or _is_permuted(one, other)


def _swaps_roles(one: Words, other: Words) -> bool:
    mine, theirs = _roles(one), _roles(other)
    return any(
        mine[role] != theirs.get(role, mine[role]) and mine[role] in theirs.values()
        for role in mine
    )


def _roles(words: Words) -> dict[str, str]:
    """What follows each preposition of direction."""
    roles: dict[str, str] = {}
    tokens = words.tokens
    for index, token in enumerate(tokens):
        if token in DIRECTIONS:
            after = next((word for word in tokens[index + 1 :] if word not in FUNCTION_WORDS), "")
            roles[token] = stem(after)
    return roles


def _is_permuted(one: Words, other: Words) -> bool:
    if not SYMMETRIC.isdisjoint(one.tokens) and not SYMMETRIC.isdisjoint(other.tokens):
        return False
    mine, theirs = list(dict.fromkeys(one.content)), list(dict.fromkeys(other.content))
    common = set(mine) & set(theirs)
    union = len(set(mine) | set(theirs))
    if len(common) < 2 or len(common) / union < 0.6:
        return False
    places = {word: place for place, word in enumerate(word for word in theirs if word in common)}
    order = [places[word] for word in mine if word in common]
    pairs = [(a, b) for i, a in enumerate(order) for b in order[i + 1 :]]
    return sum(a > b for a, b in pairs) >= 0.3 * len(pairs)


def another_word(one: Words, other: Words) -> bool:
    """One word of meaning is put in the place of another, all else is the same."""
    mine, theirs = set(one.content), set(other.content)
    common = mine & theirs
    mine, theirs = mine - common, theirs - common
    if not common or len(mine) != 1 or len(theirs) != 1:
        return False
    return not is_typo(mine.pop(), theirs.pop())


def foreign_wording(one: Words, other: Words) -> bool:
    """Texts of a language that the guards do not know have to have the same words."""
    if _is_english(one) and _is_english(other):
        return False
    return sorted(one.tokens) != sorted(other.tokens)


def _is_english(words: Words) -> bool:
    known = sum(token in FUNCTION_WORDS for token in words.tokens)
    return known * 5 >= len(words.tokens)
