"""Wordings that no other wording stands for: tied to a time, to a text beside them, to a script."""

import re

_TIME = re.compile(
    r"""\b(?:
    today|tonight|tomorrow|yesterday|now|nowadays|currently|current|latest|newest|recent|recently
    |upcoming|lately|as\ of|so\ far|to\ date|at\ (?:the|this)\ moment|just\ happened|breaking
    |these\ days
    |(?:this|next|last|past|previous|coming)\ (?:second|minute|hour|morning|afternoon|evening|night
        |day|week|weekend|month|quarter|year|season|summer|winter|spring|autumn|fall|decade
        |mon|tues|wednes|thurs|fri|satur|sun)(?:day)?s?
    |(?:second|minute|hour|day|week|month|year)s?\ ago
    |(?:mon|tues|wednes|thurs|fri|satur|sun)days?
    |what(?:'s|\ is)?\ (?:the\ )?(?:time|date|day)(?:\ is)?\ (?:it|is)|time\ is\ it
    |what(?:'s|\ is)\ the\ (?:time|date|day)
    |weather|forecast|news|headlines|score\ of|stock\ price
    |heute|gestern|morgen|jetzt|aktuell\w*|neueste\w*|hoy|ayer|ahora|aujourd'hui|hier
    |demain|maintenant|oggi|ieri|adesso|hoje|ontem|agora|vandaag|gisteren
    )\b""",
    re.VERBOSE | re.IGNORECASE,
)

_NOUN_BESIDE = (
    "text|paragraph|passage|sentence|phrase|word|article|essay|email|e-mail|letter|message|review"
    "|code|snippet|function|script|program|query|class|method|error|log|output|stack|trace|traceback"
    "|document|file|pdf|page|table|chart|graph|image|picture|photo|screenshot|diagram|list|data"
    "|dataset|json|csv|xml|conversation|transcript|story|poem|equation|expression|problem|question"
    "|statement|quote|excerpt|content|link|url|website|video|draft|contract|clause"
)

_BESIDE = re.compile(
    rf"""\b(?:
    (?:the|these|those)\ following|as\ follows|following\ (?:{_NOUN_BESIDE})s?
    |attached|attachment|enclosed|pasted|aforementioned|mentioned\ above
    |(?:given|see|shown|written|listed|provided|quoted|from|the)\ (?:below|above)
    |(?:{_NOUN_BESIDE})s?\ (?:below|above)|above\ (?:{_NOUN_BESIDE})s?|below\ (?:{_NOUN_BESIDE})s?
    |(?:this|that|these|those)\ (?:{_NOUN_BESIDE})s?
    |here(?:'s|\ is|\ are)
    )\b
    |\b(?:below|above)\s*[:.?!]?$
    |^(?:and|but|so|also|then)?\s*(?:this|that|these|those|it|they|he|she|him|her|them)\b
    |^[^,.;?!]*\b(?:this|these|those)(?:\W*$|\s*[:,;?!.]|\s+(?:to|into|in|for|as|and|means?|is|are|was|be)\b)
    |^(?!.*\b(?:my|the|an?|our|your)\b)[^,.;?!]*\b(?:it|that|them)\W*$
    |^(?:\w+\s+){{0,3}}(?:it|that|this|they)(?:\s+\w+)?\W*$
    |\b(?:what|how)\ about\b|^why\W*$|^(?:more|another|again|continue|go\ on|and)\b
    """,
    re.VERBOSE | re.IGNORECASE,
)

_LABEL = re.compile(
    r"(?:(?:hi|hey|hello)\b[\s,!.]*)?(?:(?:a|one|just a) )?(?:quick |simple )?(?:question|q):",
    re.IGNORECASE,
)
_PAYLOAD = re.compile(r"```|\n[^\n]*\n|:\s+\S+\s+\S+")

_LEAST_LATIN = 0.8
_LAST_LATIN = "\u024f"
_LATIN_EXTENDED = ("\u1e00", "\u1eff")


def unfit(raw: str, text: str) -> str:
    """Why a text is not compared by meaning; a short code, empty = it is.

    Args:
        raw: The text as it came.
        text: The same with white space collapsed.
    """
    if not text:
        return "empty"
    if _latin_share(text) < _LEAST_LATIN:
        return "script"
    if _TIME.search(text):
        return "time"
    if _PAYLOAD.search(_unlabelled(raw.strip())):
        return "payload"
    if _BESIDE.search(text):
        return "deictic"
    return ""


def _unlabelled(raw: str) -> str:
    """A text without the ``Question:`` before it."""
    label = _LABEL.match(raw)
    return raw[label.end() :] if label else raw


def _latin_share(text: str) -> float:
    """Share of a text's letters that are Latin; the accented ones are."""
    if text.isascii():
        return 1.0 if any(map(str.isalpha, text)) else 0.0
    letters = [character for character in text if character.isalpha()]
    latin = sum(map(_is_latin, letters))
    return latin / len(letters) if letters else 0.0


def _is_latin(letter: str) -> bool:
    first, last = _LATIN_EXTENDED
    return letter <= _LAST_LATIN or first <= letter <= last
