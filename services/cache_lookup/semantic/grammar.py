"""What is told by how a question is built: who does it, what kind of answer fits, which side of it.

The rules know English alone; texts of other languages have to have the same words anyway.
"""

from services.cache_lookup.semantic.vocabulary import FUNCTION_WORDS, word_set
from services.cache_lookup.semantic.words import Words, once_a_text, stem

_MODALS = word_set("do does did can could will would shall should may might must")
_AUXILIARIES = _MODALS | word_set("is are was were am has have had")
_ASKERS = word_set("i we you one someone somebody anyone anybody people")
_ANYBODY = _ASKERS | word_set("there it this that")
_ASKS_FOR_MORE = word_set("what which who whom whose where when why")
_TRANSPARENT = frozenset(
    map(
        stem,
        word_set(
            """definition meaning mean concept idea process method term amount number level piece
            copy answer information detail explanation list set group lot pair bit act part habit
            think hear aware"""
        ),
    )
)
"""Heads that add nothing: the concept of entropy is entropy."""
_NO_SUBJECT = _ASKERS | {"be", "get"}  # the asker, or a passive
_STATES = _AUXILIARIES | {"be", "need", "want", "like"}
_LONGEST_SUBJECT = 4


def another_actor(one: Words, other: Words) -> bool:
    """The asker does to something what in the other question that something does."""
    return _acts_instead(one, other) or _acts_instead(other, one)


def _acts_instead(asker: Words, thing: Words) -> bool:
    verbs = _asker_verbs(asker)
    subject = _subject(thing, verbs) if verbs else ()
    return bool(subject) and set(subject) <= set(asker.content)


@once_a_text
def _asker_verbs(words: Words) -> frozenset[str]:
    """What the asker, or anybody, does or may do."""
    tokens = words.tokens
    return frozenset(
        stem(verb)
        for modal, subject, verb in zip(tokens, tokens[1:], tokens[2:], strict=False)
        if modal in _MODALS and subject in _ASKERS and verb not in _STATES
    )


def _subject(words: Words, verbs: frozenset[str]) -> tuple[str, ...]:
    """The words of meaning between a modal and one of the verbs."""
    tokens = words.tokens
    for index, token in enumerate(tokens):
        if token not in _MODALS or tokens[index + 1 : index + 2] == ("not",):
            continue
        for length, verb in enumerate(tokens[index + 1 : index + 2 + _LONGEST_SUBJECT]):
            if stem(verb) not in verbs:
                continue
            between = tokens[index + 1 : index + 1 + length]
            subject = tuple(stem(word) for word in between if word not in FUNCTION_WORDS)
            return subject if _NO_SUBJECT.isdisjoint(between) else ()
    return ()


def another_form(one: Words, other: Words) -> bool:
    """The one is answered by yes or no, the other asks what, who, where, when or why."""
    return {_form(one), _form(other)} == {"whether", "what"}


@once_a_text
def _form(words: Words) -> str:
    """Empty = it may be either: "is there a way", "do you have", "how"."""
    first, second = (*words.tokens, "", "")[:2]
    if first in _AUXILIARIES and second not in _ANYBODY and "or" not in words.tokens:
        return "whether"
    return "what" if first in _ASKS_FOR_MORE else ""


def another_aspect(one: Words, other: Words) -> bool:
    """The one asks for something of what the other asks for: examples of it, its origin."""
    return _narrows(one, other) or _narrows(other, one)


def _narrows(one: Words, other: Words) -> bool:
    return any(
        set(one.content) - {head} == set(other.content) and head not in other.content
        for head in _heads(one)
    )


@once_a_text
def _heads(words: Words) -> frozenset[str]:
    return frozenset(
        stem(head)
        for head, link in zip(words.tokens, words.tokens[1:], strict=False)
        if link == "of" and head not in FUNCTION_WORDS and stem(head) not in _TRANSPARENT
    )
