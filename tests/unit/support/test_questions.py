"""Questions are what their users take them for."""

import random
from itertools import islice

import msgspec

from services.cache_lookup.semantic.question import Question, question_of
from tests.support.example_events import requested
from tests.support.questions import questions

COUNT = 3_000


def test_questions_are_short_and_different_and_follow_from_the_seed() -> None:
    """No two of a seed are alike, and hardly any of two seeds."""
    made = [it.text for it in islice(questions("1"), COUNT)]
    assert made == [it.text for it in islice(questions("1"), COUNT)]
    assert len(set(made)) == COUNT
    assert len(set(made) & {it.text for it in islice(questions("2"), COUNT)}) < COUNT / 100
    lengths = sorted(len(text.split()) for text in made)
    assert lengths[0] >= 5
    assert lengths[-1] <= 30
    assert 12 <= lengths[COUNT // 2] <= 20


def test_questions_can_be_compared_by_meaning() -> None:
    """Each of them: none is tied to a time, or points at something beside it."""
    for question in islice(questions("1"), COUNT):
        body = {"model": "small", "messages": [{"role": "user", "content": question.text}]}
        request = requested(body=msgspec.json.encode(body))
        assert isinstance(question_of(request, encoder="e", model="small"), Question), question


def test_another_wording_has_the_same_words_filled_in_and_an_altered_one_has_one_other() -> None:
    """That is what makes them equal, or not."""
    dice = random.Random(1)
    for question in islice(questions("1"), 200):
        other = question.reworded(dice)
        assert other.text != question.text
        assert other.filled == question.filled
        altered = question.altered(dice)
        differs = [slot for slot, words in altered.filled.items() if words != question.filled[slot]]
        assert len(differs) == 1
        assert altered.wording == question.wording
