"""Cues: what a reader who knows no model would take for signs of a hard request.

A cue is counted, and counts with its logarithm: the tenth number in a text says less than the
first. The weights are set by hand, not fitted, so that they hold for traffic that nobody labelled:
proofs, mathematics, code and puzzles ask most of a model; many facts, numbers and conditions ask
more than few; greetings, rewording and single facts ask least.
"""

import re
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from math import log1p
from string import punctuation

from services.shared.domain.complexity.lexicon import lexicon

WEIGHTS: dict[str, float] = {
    # what is asked for
    "prove": 1.8,
    "puzzle": 1.5,
    "code": 1.8,
    "design": 1.2,
    "math": 0.9,
    "reason": 1.0,
    "compute": 0.5,
    "science": 0.7,
    "finance": 0.6,
    "law": 0.5,
    "medicine": 0.4,
    "philosophy": 0.2,
    "compose": 0.4,
    "easy": -1.2,
    "factoid": -0.8,
    # how much there is to keep in mind
    "constraint": 0.4,
    "quantity": 0.35,
    "length": 0.3,
    "commas": 0.3,
    "sentences": 0.2,
    "numbers": 0.2,
    "formulas": 0.5,
    "operators": 0.4,
    "code_marks": 0.4,
    "questions": 0.6,
    "asks": -0.5,
}
"""Weight of the natural logarithm of 1 + how often a cue occurs."""

MOST_WORDS = 600
"""Words that count: two thirds of them from the beginning, the others from the end."""

MOST = 30
"""Occurrences that count; more are no harder."""

_ALWAYS = frozenset({"length", "commas", "sentences", "questions", "asks"})
"""Cues that any text in any language has: they never make the classifier sure."""

_LEXICON = lexicon()
_QUOTES_AND_DASHES = "\u2018\u2019\u201c\u201d\u2026\u2013\u2014"
_SPACES = str.maketrans(dict.fromkeys(punctuation, " "))
_WORD = re.compile(rf"[^\s{re.escape(punctuation + _QUOTES_AND_DASHES)}]+")
_NUMBER = "0"
_OPERATORS = "=+^<>≤≥√∑∫∀∃⊃∧→"
_CODE_MARKS = ("```", "();", "):\n", "{", "def ", "->")


def grams_of(text: str) -> tuple[int, Counter[str]]:
    """How many words and numbers a text has, and how often each one and each pair occurs.

    Words are in lower case; what begins with a digit is ``0``.
    """
    words = _words(text.lower())
    if len(words) > MOST_WORDS:
        words = words[: MOST_WORDS * 2 // 3] + words[-MOST_WORDS // 3 :]
    tokens = [_NUMBER if word[0].isdecimal() else word for word in words]
    return len(tokens), Counter(tokens + list(map(" ".join, pairwise(tokens))))


def _words(text: str) -> list[str]:
    """What stands between spaces and punctuation; to translate is fast for ASCII alone."""
    return text.translate(_SPACES).split() if text.isascii() else _WORD.findall(text)


def cues_of(text: str, grams: Mapping[str, int]) -> dict[str, float]:
    """What each cue that occurs in a text adds to its score.

    Args:
        text: The text.
        grams: How often each word and each pair of words occurs in it.
    """
    counts: dict[str, int] = {}
    for gram in grams.keys() & _LEXICON.keys():
        cue = _LEXICON[gram]
        counts[cue] = counts.get(cue, 0) + grams[gram]
    counts["commas"] = text.count(",")
    counts["sentences"] = text.count(". ") + text.count("? ") + text.count(".\n")
    counts["questions"] = text.count("?") - 1
    counts["asks"] = text.rstrip().endswith("?")
    counts["numbers"] = grams.get(_NUMBER, 0)
    counts["formulas"] = text.count("\\")
    counts["operators"] = sum(map(text.count, _OPERATORS))
    counts["code_marks"] = sum(map(text.count, _CODE_MARKS))
    found = {
        cue: WEIGHTS[cue] * log1p(min(count, MOST)) for cue, count in counts.items() if count > 0
    }
    found["length"] = WEIGHTS["length"] * log1p(len(text))
    return found


def tells(cues: Mapping[str, float]) -> bool:
    """Whether any cue was found that not every text has."""
    return not cues.keys() <= _ALWAYS
