"""The rules behind the guards, each over the words of both questions."""

import re
from collections.abc import Iterable

from services.cache_lookup.semantic.names import NAMES, SERIES
from services.cache_lookup.semantic.vocabulary import (
    FRACTIONS,
    FUNCTION_WORDS,
    NEGATIONS,
    NEGATIVE_PREFIXES,
    OPPOSITES,
    QUESTION_WORDS,
)
from services.cache_lookup.semantic.words import (
    Words,
    is_number,
    is_typo,
    numbers_of,
    once_a_text,
    stem,
    units_of,
)

_QUOTED = re.compile(
    '["\u201c\u201d\u00ab\u00bb`]([^"\u201c\u201d\u00ab\u00bb`]+)["\u201c\u201d\u00ab\u00bb`]'
    "|(?<!\\w)['\u2018]([^'\u2018\u2019]+)['\u2019](?!\\w)"
)
_IDLE_NEGATIONS = re.compile(
    r"\b(?:i (?:do|did|can|could) not (?:know|understand|get it|figure|remember|think)"
    r"|not sure|no idea|or not|why not|no longer sure|if not|not only)\b"
)


def another_payload(asked: str, cached: str) -> bool:
    """What stands in quotation marks is not the same, word for word."""
    return _payload(asked) != _payload(cached)


@once_a_text
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


@once_a_text
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
    """They name other places, peoples, products, or other members of one series."""
    if _names(one) != _names(other):
        return True
    mine, theirs = _members(one), _members(other)
    only_mine = {series for series, _ in mine - theirs}
    return not only_mine.isdisjoint(series for series, _ in theirs - mine)


@once_a_text
def _names(words: Words) -> set[str]:
    return {NAMES[token] for token in words.tokens if token in NAMES}


@once_a_text
def _members(words: Words) -> set[tuple[int, str]]:
    return {member for token in words.tokens for member in SERIES.get(token, ())}


def another_entity(one: Words, other: Words) -> bool:
    """A name, code or acronym of the one is not in the other."""
    return _lacks(one, other) or _lacks(other, one)


def _lacks(one: Words, other: Words) -> bool:
    there = {stem(token) for token in other.tokens}
    missing = [shape for shape in entities_of(one) if stem(shape.lower()) not in there]
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


@once_a_text
def entities_of(words: Words) -> list[str]:
    """Words that look like names: capitals inside a sentence, capitals alone, digits in a word."""
    first, rest = words.shapes[:1], words.shapes[1:]
    has_case = 2 * sum(shape[0].isupper() for shape in rest) <= len(rest)
    shapes = [shape for shape in words.shapes if shape.lower() not in FUNCTION_WORDS]
    return [
        shape
        for shape in shapes
        if _is_code(shape)
        or (has_case and len(shape) > 1 and shape.isupper())
        or (has_case and shape[0].isupper() and (shape,) != first)
    ]


def _is_code(shape: str) -> bool:
    return not shape[0].isdigit() and any(map(str.isdigit, shape))


@once_a_text
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
    """The one asks of what is the asker's, the other of what belongs to whom is asked."""
    return {*_owners(one), *_owners(other)} == {"my", "your"} and not (
        _owners(one) & _owners(other)
    )


@once_a_text
def _owners(words: Words) -> set[str]:
    return {"my", "your"}.intersection(words.tokens)


def another_focus(one: Words, other: Words) -> bool:
    """The same is said of both, but who, when, where, why or how is asked."""
    if set(one.content) ^ set(other.content):
        return False
    mine, theirs = _focus(one), _focus(other)
    return bool(mine) and bool(theirs) and mine.isdisjoint(theirs)


@once_a_text
def _focus(words: Words) -> set[str]:
    """What is asked for: ``what`` may be any of it, and ``how`` is often ``where``."""
    found = QUESTION_WORDS.intersection(words.tokens) - {"what", "which"}
    if found & {"where", "how"}:
        found |= {"where", "how"} if not found & {"when", "why", "who"} else set()
    return set(found)


def another_word(one: Words, other: Words) -> bool:
    """One word of meaning is put in the place of another, all else is the same."""
    mine, theirs = one.content, other.content
    if len(mine) != len(theirs) or len(mine) < 2:
        return False
    replaced = [place for place, word in enumerate(mine) if word != theirs[place]]
    if len(replaced) != 1:
        return False
    (place,) = replaced
    if is_number(mine[place]) and is_number(theirs[place]):  # these are compared as numbers
        return False
    return not is_typo(one.bare[place], other.bare[place])


def foreign_wording(one: Words, other: Words) -> bool:
    """Texts of a language that the guards do not know have to have the same words."""
    if one.is_english and other.is_english:
        return False
    return sorted(one.tokens) != sorted(other.tokens)
