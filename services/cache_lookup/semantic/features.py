"""What the verifier sees of two questions: numbers that say how alike their wordings are."""

from collections.abc import Set as AbstractSet
from itertools import combinations

from services.cache_lookup.semantic.vocabulary import QUESTION_WORDS
from services.cache_lookup.semantic.words import Words, is_typo, words_of

NAMES = (
    "similarity",
    "shared_content",
    "covered_content",
    "fewer_unshared",
    "more_unshared",
    "shared_tokens",
    "length_ratio",
    "shared_trigrams",
    "question_words",
    "inverted",
    "last_word",
    "first_word",
    "longest_run",
    "content_words",
    "prefix_pairs",
)
"""The features, in their order."""

_MOST_WORDS = 40


def features_of(asked: str, cached: str, similarity: float) -> tuple[float, ...]:
    """The features of a pair; the same whichever question comes first.

    Args:
        asked: A question.
        cached: Another.
        similarity: Their cosine, -1..1.
    """
    one, other = words_of(asked), words_of(cached)
    mine, theirs = one.content[:_MOST_WORDS], other.content[:_MOST_WORDS]
    only_mine, only_theirs = _unshared(mine, theirs)
    shared = set(mine) & set(theirs)
    unshared = sorted((len(only_mine), len(only_theirs)))
    least = min(len(set(mine)), len(set(theirs)))
    return (
        similarity,
        _ratio(len(shared), len(shared) + sum(unshared)),
        _ratio(len(shared), least),
        float(unshared[0]),
        float(unshared[1]),
        _jaccard(set(one.tokens), set(other.tokens)),
        _ratio(*sorted((len(one.tokens), len(other.tokens)))),
        _jaccard(_trigrams(one), _trigrams(other)),
        _question_words(one, other),
        _inverted(mine, theirs, shared),
        float(mine[-1:] == theirs[-1:]),
        float(mine[:1] == theirs[:1]),
        _ratio(_longest_run(mine, theirs), least),
        float(least),
        float(sum(a[:4] == b[:4] for a in only_mine for b in only_theirs)),
    )


def _unshared(mine: tuple[str, ...], theirs: tuple[str, ...]) -> tuple[set[str], set[str]]:
    """Words of meaning that only the one or the other has, but for misspellings."""
    only_mine, only_theirs = set(mine) - set(theirs), set(theirs) - set(mine)
    typos = [(a, b) for a in only_mine for b in only_theirs if is_typo(a, b)]
    return only_mine - {a for a, _ in typos}, only_theirs - {b for _, b in typos}


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 1.0


def _jaccard(one: AbstractSet[str], other: AbstractSet[str]) -> float:
    shared = len(one & other)
    return _ratio(shared, len(one) + len(other) - shared)


def _trigrams(words: Words) -> set[str]:
    text = f" {' '.join(words.bare[:_MOST_WORDS])} "
    return {text[start : start + 3] for start in range(len(text) - 2)}


def _question_words(one: Words, other: Words) -> float:
    """1 = the same, 0 = none in common."""
    return _jaccard(QUESTION_WORDS & set(one.tokens), QUESTION_WORDS & set(other.tokens))


def _inverted(mine: tuple[str, ...], theirs: tuple[str, ...], shared: set[str]) -> float:
    """Share of pairs of common words that come in the other order."""
    places = {word: place for place, word in reversed(list(enumerate(theirs)))}
    order = [places[word] for word in dict.fromkeys(mine) if word in shared]
    pairs = list(combinations(order, 2))
    return sum(a > b for a, b in pairs) / len(pairs) if pairs else 0.0


def _longest_run(mine: tuple[str, ...], theirs: tuple[str, ...]) -> int:
    """Length of the longest run of words of meaning that both have."""
    longest, ends = 0, [0] * (len(theirs) + 1)
    for word in mine:
        ends = [0] + [ends[place] + 1 if word == other else 0 for place, other in enumerate(theirs)]
        longest = max(longest, *ends)
    return longest
