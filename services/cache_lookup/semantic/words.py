"""Words of a question: tokens, stems, numbers, and what counts as the same word."""

import re
from functools import lru_cache

import msgspec

from services.cache_lookup.semantic.vocabulary import (
    FOREIGN_WORDS,
    FUNCTION_WORDS,
    NUMBER_WORDS,
    SCALES,
    SYNONYMS,
    UNITS,
)

_TOKEN = re.compile(
    r"[$€£¥₹%]|\d+(?:[.,:/]\d+)*(?:st|nd|rd|th)?\b|[^\W_]+(?:\.[^\W\d_]\b)*(?:[+#]+|\d)*"
)
_CONTRACTIONS = (
    (re.compile(r"\b(ca)n['\u2019]?t\b", re.IGNORECASE), r"\1n not"),
    (re.compile(r"\bcannot\b", re.IGNORECASE), "can not"),
    (re.compile(r"\bwo(?:n['\u2019]t)\b", re.IGNORECASE), "will not"),
    (
        re.compile(
            r"\b(is|are|was|were|do|does|did|has|have|had|could|should|would|must|need|ai)n['\u2019]?t\b",
            re.IGNORECASE,
        ),
        r"\1 not",
    ),
    (
        re.compile(
            r"\b(what|who|where|when|why|how|it|he|she|that|there|here)['\u2019]s\b(?! been\b)",
            re.IGNORECASE,
        ),
        r"\1 is",
    ),
    (re.compile(r"\b(i)['\u2019]m\b", re.IGNORECASE), r"\1 am"),
    (re.compile(r"\b(we|you|they)['\u2019]re\b", re.IGNORECASE), r"\1 are"),
    (re.compile(r"\b(i|we|you|they)['\u2019]ve\b", re.IGNORECASE), r"\1 have"),
    (re.compile(r"['\u2019]ll\b", re.IGNORECASE), " will"),
    (re.compile(r"['\u2019](?:s|re|ve|m|d)\b", re.IGNORECASE), ""),
)
_COURTESY = re.compile(
    r"^(?:hi|hello|hey|ok|okay|please|so|well|excuse me|sorry|quick question|thanks)\b[\s,.!:-]*"
    r"|^(?:(?:a|one|just a) )?(?:simple )?(?:question|q):"
    r"|^(?:can|could|would|will) you (?:please |kindly |possibly )?"
    r"(?:tell me|explain(?: to me)?|help me(?: understand| with)?|show me|let me know|say)\b"
    r"|^(?:please )?(?:tell me|let me know|explain to me)\b"
    r"|^i(?: would|['\u2019]d)? (?:just )?(?:want|like|need|wish) to "
    r"(?:know|ask|find out)\b"
    r"|^(?:do|would|might) you (?:happen to )?know\b"
    r"|[\s,]*\b(?:please|kindly|thanks|thank you|thx|pls|plz|in advance)\b[\s.!?]*",
    re.IGNORECASE,
)


once_a_text = lru_cache(maxsize=8_192)
"""What is known of one text is found once, as it meets many others."""


class Words(msgspec.Struct, frozen=True, eq=False):
    """A question's words.

    Attributes:
        tokens: All of them, in lower case, contractions and courtesies resolved.
        shapes: The same as they were written.
        content: Stems of those that carry meaning, in order.
        bare: The same words, not stemmed.
        is_english: Whether its small words are English ones; of keywords alone nobody knows.
    """

    tokens: tuple[str, ...]
    shapes: tuple[str, ...]
    content: tuple[str, ...]
    bare: tuple[str, ...]
    is_english: bool


@once_a_text
def words_of(text: str) -> Words:
    """Take a question apart."""
    plain = text
    for pattern, replacement in _CONTRACTIONS:
        plain = pattern.sub(replacement, plain)
    is_english = _is_english(plain.lower().split())
    for _ in range(2):
        shorter = _COURTESY.sub(" ", plain).strip()
        plain = shorter or plain
    shapes = tuple(_TOKEN.findall(plain))
    tokens = tuple(shape.lower() for shape in shapes)
    bare = tuple(token for token in tokens if token not in FUNCTION_WORDS)
    return Words(tokens, shapes, tuple(map(stem, bare)), bare, is_english)


def _is_english(tokens: list[str]) -> bool:
    plain = [token.strip(".,;:!?¿¡()\"'") for token in tokens]
    english = sum(token in FUNCTION_WORDS for token in plain)
    foreign = sum(token in FOREIGN_WORDS for token in plain)
    return english > foreign


@lru_cache(maxsize=16_384)
def stem(word: str) -> str:
    """A word without its inflection, synonyms as one; crude, and the same for both questions."""
    if word[:1].isdigit():
        return _digits(word)
    if word in NUMBER_WORDS:
        return _written(NUMBER_WORDS[word])
    word = SYNONYMS.get(word, UNITS.get(word, word))
    if len(word) <= 3 or not word.isalpha():
        return word
    for ending, least, put in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= least:
            root = word[: -len(ending)] + put
            if not put and ending in _DOUBLING and _is_doubled(root):
                root = root[:-1]
            elif ending in _MUTE and _LOST_E.fullmatch(root):
                root += "e"
            return SYNONYMS.get(root, root.removesuffix("e") if len(root) > 4 else root)
    return word.removesuffix("e") if len(word) > 4 else word


_DOUBLING = frozenset({"ing", "ed", "er", "ers"})
_MUTE = frozenset({"ing", "ed"})
_LOST_E = re.compile("[^aeiou][aeiouy][^aeiouwxy]")
"""Short roots that end so have lost an e: com-ing, liv-ed."""

_ENDINGS = (
    ("sses", 2, "ss"),
    ("ies", 2, "y"),
    ("ied", 2, "y"),
    ("ations", 4, "ate"),
    ("ation", 4, "ate"),
    ("ions", 4, ""),
    ("ion", 4, ""),
    ("ings", 3, ""),
    ("ing", 3, ""),
    ("ments", 4, ""),
    ("ment", 4, ""),
    ("edly", 3, ""),
    ("ed", 3, ""),
    ("ly", 4, ""),
    ("ss", 1, "ss"),
    ("us", 2, "us"),
    ("is", 2, "is"),
    ("es", 4, ""),
    ("s", 2, ""),
)


def _is_doubled(root: str) -> bool:
    return len(root) > 3 and root[-1] == root[-2] and root[-1] not in "lsz"


@once_a_text
def numbers_of(tokens: tuple[str, ...]) -> frozenset[str]:
    """The numbers of a text, spelled-out ones too, each in one way to write it."""
    found: set[str] = set()
    value, is_open = 0.0, False
    for word in (*tokens, ""):
        number = NUMBER_WORDS.get(word, 1.0 if word == "one" and value >= _TWENTY else None)
        if number is not None and is_open and number < value:
            value += number
        elif word in SCALES:
            value, is_open = (value or 1.0) * SCALES[word], True
        elif not (is_open and word == "and"):
            if is_open:
                found.add(_written(value))
            plain = _digits(word) if any(map(str.isdigit, word)) else ""
            value = number or (float(plain) if _PLAIN.fullmatch(plain) else 0.0)
            is_open = number is not None or bool(value)
            if plain and not is_open:
                found.add(plain)
    return frozenset(found)


_TWENTY = 20
_PLAIN = re.compile(r"\d+(?:\.\d+)?")


def is_number(word: str) -> bool:
    """Whether a stem is a number or a part of one."""
    return word[:1].isdigit() or word in SCALES


def _written(value: float) -> str:
    return f"{value:g}" if value < 1e6 else f"{value:.0f}"


def _digits(token: str) -> str:
    plain = re.sub(r"(?<=\d)(?:st|nd|rd|th)$", "", token).replace(",", "")
    scaled = re.fullmatch(r"(\d+(?:\.\d+)?)([km])", plain)
    if scaled:
        return _written(float(scaled[1]) * (1_000 if scaled[2] == "k" else 1_000_000))
    try:
        return _written(float(plain))
    except ValueError:
        return plain


@once_a_text
def units_of(tokens: tuple[str, ...]) -> frozenset[str]:
    """Units, currencies and percents of a text."""
    return frozenset(unit for token in tokens if (unit := UNITS.get(token)))


def is_typo(one: str, other: str) -> bool:
    """Whether two words differ as a word and its misspelling do.

    Two letters swapped, one left out of a word of six, or one wrong in a word of nine: shorter
    words that differ like this are often two words.
    """
    shorter, longer = sorted((one, other), key=len)
    if one[:1] != other[:1] or len(shorter) < 5 or len(longer) > len(shorter) + 1:
        return False
    start = 0
    while start < len(shorter) and one[start] == other[start]:
        start += 1
    if len(longer) > len(shorter):
        return len(longer) >= 6 and longer[start + 1 :] == shorter[start:]
    mine, theirs = one[start:], other[start:]
    is_swap = mine[:2] == theirs[1::-1] and mine[2:] == theirs[2:]
    return is_swap or (len(one) >= 9 and mine[1:] == theirs[1:])
