"""The classifier: what raises a score, what it does not know, and reading weights."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.adapters.complexity_weights import shipped_classifier
from services.shared.domain.complexity.classifier import (
    FORMAT,
    Classifier,
    Weights,
    weights_from_json,
)
from services.shared.domain.complexity.cues import MOST_WORDS, WEIGHTS, cues_of, grams_of
from services.shared.domain.complexity.lexicon import inflected, lexicon
from services.shared.domain.errors import InvalidConfiguration

PLAIN = Weights(format=FORMAT, unit=0.01, mean=2.0, deviation=2.0, reference=(0.5,), grams={})


@pytest.mark.parametrize(
    ("easier", "harder"),
    [
        ("hi there, thanks!", "Prove that there are infinitely many primes."),
        ("Who wrote Hamlet?", "Write a function that finds the longest palindrome in a string."),
        (
            "Translate 'good morning' into French, please.",
            "Design a database schema for a bank and justify each index by the queries it serves.",
        ),
        (
            "What is the capital of Peru?",
            "A train leaves at 9:40 and covers 3/4 of the distance, then twice as many miles per "
            "hour. How many minutes are left, if the total is 120 miles and each stop takes 5?",
        ),
    ],
)
@pytest.mark.parametrize("classifier", [Classifier(PLAIN), shipped_classifier()])
def test_what_asks_more_of_a_model_scores_higher(
    classifier: Classifier, easier: str, harder: str
) -> None:
    """By the cues alone as well as with the shipped weights."""
    assert classifier.score(easier).value < classifier.score(harder).value


@pytest.mark.parametrize("text", ["", "   ", "漢字を書く", "qwrt zxcv bnmp", "Ωμέγα λόγος;"])
def test_it_says_when_it_does_not_know(text: str) -> None:
    """No cue and hardly a known word: the score means nothing, and it says so."""
    assert shipped_classifier().score(text).is_unsure


@pytest.mark.parametrize("text", ["hello", "Prove it.", "漢字 = 3 + 4", "x^2"])
def test_a_cue_in_any_language_makes_it_sure(text: str) -> None:
    """A formula is one wherever it stands."""
    assert not shipped_classifier().score(text).is_unsure


def test_known_words_make_it_sure_without_a_cue() -> None:
    """What was learned counts, too."""
    weights = msgspec.structs.replace(PLAIN, grams={"river": 50, "river bank": -20})
    scored = Classifier(weights).score("river bank")
    assert not scored.is_unsure
    assert Classifier(PLAIN).score("river bank").is_unsure
    assert Classifier(weights).score("river river").value > scored.value


def test_the_strongest_cues_are_named_with_their_amounts() -> None:
    """Whoever asks why is told, in the unit of the score."""
    cues = Classifier(PLAIN).score("Prove the theorem.").cues
    assert cues[0].startswith("prove +")
    assert len(cues) <= 6


@given(st.text(max_size=5_000))
def test_every_text_has_a_score(text: str) -> None:
    """Between 0 and 1, and the same each time."""
    scored = shipped_classifier().score(text)
    assert 0 <= scored.value <= 1
    assert scored == shipped_classifier().score(text)


def test_an_unknown_text_has_next_to_no_learned_part() -> None:
    """Weights of other kinds of traffic say little about it, whatever its length."""
    weights = msgspec.structs.replace(PLAIN, grams={"known": 100})
    near = Classifier(weights).raw("known " + "zz " * 200) - Classifier(PLAIN).raw(
        "known " + "zz " * 200
    )
    assert 0 < near < 0.1


def test_words_beyond_the_most_do_not_count() -> None:
    """A text of single letters costs no more than one of words."""
    words, grams = grams_of("a " * 5_000)
    assert words == MOST_WORDS
    assert grams["a"] == MOST_WORDS


def test_numbers_are_alike_and_case_does_not_count() -> None:
    """So that weights hold for other numbers."""
    assert grams_of("Add 12 Apples")[1] == grams_of("add 7 apples")[1]


def test_typographic_punctuation_divides_words_like_that_of_ascii() -> None:
    """In texts with other letters, too."""
    assert grams_of("\u201cdon\u2019t\u201d \u2014 stop\u2026 now, caf\u00e9") == grams_of(
        "'don't' - stop... now, caf\u00e9"
    )
    assert grams_of("\u201cstop\u201d") == grams_of("'stop'")


def test_every_cue_of_the_lexicon_has_a_weight() -> None:
    """A word without one would count for nothing, silently."""
    assert set(lexicon().values()) <= WEIGHTS.keys()


def test_more_of_a_cue_counts_less_each_time() -> None:
    """The second proof asks less more than the first, and there is an end to it."""
    amounts = [cues_of("", {"theorem": count}).get("prove", 0.0) for count in (0, 1, 2, 30, 31)]
    assert amounts[1] - amounts[0] > amounts[2] - amounts[1] > 0
    assert amounts[3] == amounts[4]


def test_words_have_their_regular_forms() -> None:
    """Listed in the plain one."""
    assert {"derive", "derives", "derived", "deriving"} <= set(inflected("derive", is_verb=True))
    assert "probabilities" in inflected("probability", is_verb=False)
    assert "arrays" in inflected("array", is_verb=False)


def test_weights_are_read_from_json() -> None:
    """What was written is what is read."""
    assert weights_from_json(msgspec.json.encode(PLAIN), name="w.json") == PLAIN


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        msgspec.json.encode(msgspec.structs.replace(PLAIN, format="other")),
        msgspec.json.encode(msgspec.structs.replace(PLAIN, deviation=0.0)),
    ],
)
def test_another_file_is_refused_by_name(content: bytes) -> None:
    """The message says which file, and what it should have been."""
    with pytest.raises(InvalidConfiguration, match=r"^w\.json is no weights file"):
        weights_from_json(content, name="w.json")
