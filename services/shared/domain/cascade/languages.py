"""Languages of texts: who asks in one is to be answered in it, if nothing names another. Pure."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import NamedTuple
from unicodedata import normalize

from services.shared.domain.cascade.function_words import FUNCTION_WORDS, NAMED_LANGUAGES
from services.shared.domain.cascade.scripts import names_script

_SAMPLE_CHARS = 2_000
_READ_CHARS = 600
"""Characters of an answer's prose that settle it: a long answer need not be read to its end."""

_CERTAIN_SHARE = 0.7
_LEAST_WORDS = 4
_CLEAR = 2
_LEAST_WORDS_OF_A_LINE = 6
"""Shorter lines may be titles, names or headings, which keep their language anywhere."""

_LEAST_HITS = 6
_LEAST_DIFFERENT = 4
_LEAST_HITS_SHARE = 0.15
_CERTAIN = 4
"""How many times more words have to be of one language than of the other."""

_LEAST_ASKED = 2
_LEAST_WEIGHT = 1.0
_MOST_SAID_CHARS = 50_000
"""Where more was said nobody looks for what allows a language (20 ms): it is taken to be there."""
_NEVER = {"la"}
_BY_WORD = {
    word: tuple(name for name, words in FUNCTION_WORDS.items() if word in words)
    for words in FUNCTION_WORDS.values()
    for word in words
}
_WORD = re.compile(r"[^\W\d_]+")
_NOT_PROSE = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]*`|\"[^\"\n]*(?:\"|$)|\u201c[^\u201d\n]*(?:\u201d|$)|"
    r"\u201e[^\u201c\u201d\n]*(?:[\u201c\u201d]|$)|\u00ab[^\u00bb\n]*(?:\u00bb|$)|"
    r"\u00bb[^\u00ab\n]*\u00ab|^[ \t]*>.*$|https?://\S+|\*[^*\n]+\*|\b_[^_\n]+_\b",
    re.DOTALL | re.MULTILINE,
)
"""Code, quotations, addresses, and what is set off as foreign words are."""

_CAPITALISED = re.compile(r"\b[A-Z]\w*")
"""Words that may be of a name, such as *Los Angeles*."""

_ANY_LANGUAGE = re.compile(
    r"translat|übersetz|tradu[cçzi]|перев[её]д|перевод|翻译|翻訳|vertaal|översätt|oversæt|oversett|přelo|tłumacz|fordít|çevir|"
    r"terjemah|\b(?:languages?|sprachen?|langues?|idiomas?|linguas?|lingue|språk|sprog|taal|bahasa|"
    r"język\w*|jazyk\w*|tongue|bilingual|multilingual|locali[sz]\w*|native|lyrics?|anthem|prayer|"
    r"proverbs?|verbatim|lorem|placeholder|transcri\w+|ocr|titles?|novels|songs|albums|works|"
    r"quot(?:es?|ed|ations?)|mottos?)\b",
    re.IGNORECASE,
)
_NAMES = {
    name: re.compile(rf"\b(?:{names})", re.IGNORECASE)
    for name, names in NAMED_LANGUAGES.items()
    if names
}
_SCRIPTS = (
    (0x0370, 0x0400, "greek"),
    (0x0400, 0x0530, "cyrillic"),
    (0x0590, 0x0600, "hebrew"),
    (0x0600, 0x0780, "arabic"),
    (0x0900, 0x0980, "devanagari"),
    (0x0E00, 0x0E80, "thai"),
    (0x1100, 0x1200, "hangul"),
    (0x3040, 0x3100, "kana"),
    (0x3400, 0xA000, "han"),
    (0xAC00, 0xD7B0, "hangul"),
)


class _Counted(NamedTuple):
    """Small words of a text by language.

    A word that several languages have weighs for each of them its part.
    """

    hits: Counter[str]
    different: Counter[str]
    weights: defaultdict[str, float]
    words: int


def differs_in_language(answer: str, *, prompt: str, others: Iterable[str] = ()) -> bool:
    """Whether an answer seems to be in a language, or a script, that nobody has written or named.

    Args:
        answer: The answer, or its beginning.
        prompt: What was asked.
        others: All else that was said, also by the system.
    """
    asked = language_of(prompt)
    script, said = _script_in(answer[:_SAMPLE_CHARS]), (prompt, *others)
    if not asked or script == asked:
        return False
    if script:
        return not any(
            names_script(text) or _ANY_LANGUAGE.search(text) or language_of(text) == script
            for text in said
        )
    given = _counted(answer[:_SAMPLE_CHARS])
    most = _most(given)
    is_clear = given.weights[asked] * _CLEAR <= given.weights[most]
    if given.hits[most] < _LEAST_WORDS or not is_clear:
        return False
    return not _is_allowed(said, own={asked}, languages=_near(given))


def language_of(text: str) -> str:
    """Script of a text, or for Latin script its language where that is clear; empty = unclear."""
    sample = text[:_SAMPLE_CHARS]
    script = _script_in(sample)
    if script:
        return script
    counted = _counted(sample)
    language = _most(counted)
    is_clear = counted.hits[language] >= _LEAST_WORDS and len(_near(counted)) == 1
    return language if is_clear else ""


def is_in_foreign_language(answer: str, *, prompt: str, others: Iterable[str]) -> bool:
    """Whether an answer is, for certain, in a language that nobody has written or named.

    Both are told by their small words, so short texts, and languages that are not in the table,
    never are. What is said of a language or of a country where it is spoken lets it pass, as
    does what is said of languages at all.

    Args:
        answer: The answer, or its beginning.
        prompt: What was asked.
        others: All else that was said, also by the system.
    """
    given = _counted(_prose(answer))
    language = _most(given)
    if (
        given.hits[language] < max(_LEAST_HITS, _LEAST_HITS_SHARE * given.words)
        or given.different[language] < _LEAST_DIFFERENT
    ):
        return False
    asked = _counted(prompt[:_SAMPLE_CHARS])
    main, own = _most(asked), _near(asked, times=_CERTAIN)
    is_told = asked.different[main] >= _LEAST_ASKED and asked.weights[main] >= _LEAST_WEIGHT
    if not is_told or _NEVER & {main, language}:
        return False
    most = given.weights[language]
    if any(given.weights[name] * _CERTAIN > most for name in own):
        return False
    return not _is_allowed((prompt, *others), own=own, languages=_near(given))


def _is_allowed(texts: Iterable[str], *, own: set[str], languages: set[str]) -> bool:
    """Whether texts name one of these languages, or have words of them that are not of the own."""
    different = set(texts)
    if sum(map(len, different)) > _MOST_SAID_CHARS:
        return True
    words = _words_of(languages) - _words_of(own)
    return any(
        _ANY_LANGUAGE.search(text) is not None
        or any(_NAMES[name].search(text) for name in languages if name in _NAMES)
        or len(words.intersection(_words(text))) >= _LEAST_ASKED
        for text in different
    )


def _words_of(languages: set[str]) -> frozenset[str]:
    return frozenset().union(*(FUNCTION_WORDS.get(name, ()) for name in languages))


def _prose(text: str) -> str:
    """The beginning of what a text says in sentences of its own, without capitalised words."""
    plain = _CAPITALISED.sub("-", _NOT_PROSE.sub(" ", text[:_SAMPLE_CHARS]))
    lines = (line for line in plain.splitlines() if len(_words(line)) >= _LEAST_WORDS_OF_A_LINE)
    return "\n".join(lines)[:_READ_CHARS]


def _counted(text: str) -> _Counted:
    counted = _Counted(Counter(), Counter(), defaultdict(float), 0)
    words = Counter(_words(text))
    for word, number in words.items():
        names = _BY_WORD.get(word, ())
        for name in names:
            counted.hits[name] += number
            counted.different[name] += 1
            counted.weights[name] += number / len(names)
    return counted._replace(words=words.total())


def _words(text: str) -> list[str]:
    return _WORD.findall((text if text.isascii() else normalize("NFC", text)).lower())


def _most(counted: _Counted) -> str:
    return max(counted.weights, key=counted.weights.__getitem__, default="")


def _near(counted: _Counted, *, times: int = _CLEAR) -> set[str]:
    """The language that leads, and those that it does not lead by so many times."""
    most = counted.weights[_most(counted)] if counted.weights else 0
    return {name for name, weight in counted.weights.items() if weight * times > most}


def _script_in(sample: str) -> str:
    """The script of a text that is not in the Latin one; empty = it is, or in none for the most."""
    if sample.isascii():
        return ""
    letters = [character for character in sample if character.isalpha()]
    foreign = Counter(script for script in map(_script_of, letters) if script)
    if not foreign or foreign.total() < _CERTAIN_SHARE * len(letters):
        return ""
    (script, count), *_ = foreign.most_common(1)
    # Japanese is written in both
    return "kana" if script == "han" and foreign["kana"] > count / 8 else script


def _script_of(character: str) -> str:
    code = ord(character)
    return next((name for start, end, name in _SCRIPTS if start <= code < end), "")
