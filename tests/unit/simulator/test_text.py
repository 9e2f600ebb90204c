"""Words, tokens and seeds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.simulator.seed import (
    drawn_integer,
    drawn_lognormal,
    drawn_ratio,
    seed_from_parts,
)
from services.simulator.sentences import MULTIBYTE_SENTENCE, SENTENCES
from services.simulator.text import estimated_tokens, said_tokens, tokens_from_text


@given(st.text(max_size=300))
def test_tokens_joined_are_the_text(text: str) -> None:
    """Splitting a text into tokens loses and adds nothing."""
    tokens = tokens_from_text(text)
    assert "".join(tokens) == text
    assert all(tokens)


@given(st.text(max_size=300))
def test_input_tokens_are_a_quarter_of_the_bytes(text: str) -> None:
    """The estimate is the UTF-8 length divided by four, rounded up, ASCII or not."""
    size = len(text.encode(errors="surrogatepass"))
    assert 4 * estimated_tokens(text) - 3 <= size <= 4 * estimated_tokens(text)


@given(seed=st.integers(0, 2**64 - 1), count=st.integers(0, 3_000), exactly=st.booleans())
def test_said_tokens_have_the_length_asked_for(seed: int, count: int, *, exactly: bool) -> None:
    """The text is exactly as long as wanted, or ends with the sentence that reaches it."""
    tokens = said_tokens(seed, at_least_tokens=count, exactly=exactly)
    assert tokens == said_tokens(seed, at_least_tokens=count, exactly=exactly)
    if exactly:
        assert len(tokens) == count
    else:
        assert count <= len(tokens) < count + 40
        assert not tokens or tokens[-1] == "." or tokens[-1] == ":"
    assert not tokens or not tokens[0].startswith(" ")


def test_no_sentence_comes_twice_before_all_were_said() -> None:
    """A long answer says every sentence once before it repeats one."""
    every = sum(len(tokens_from_text(f" {sentence}")) for sentence in SENTENCES)
    text = "".join(said_tokens(7, at_least_tokens=every))
    assert [sentence for sentence in SENTENCES if text.count(sentence) != 1] == []


def test_multibyte_answer_starts_beyond_ascii() -> None:
    """On request the first sentence has characters of two, three and four bytes."""
    text = "".join(said_tokens(7, at_least_tokens=5, multibyte=True))
    assert text == MULTIBYTE_SENTENCE
    assert {len(character.encode()) for character in text} == {1, 2, 3, 4}


@pytest.mark.parametrize(("one", "other"), [(("a", "b"), ("ab",)), (("a", ""), ("a",))])
def test_seeds_keep_parts_apart(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    """Different splits of one text are different seeds."""
    assert seed_from_parts(*one) != seed_from_parts(*other)


def test_seed_takes_any_text() -> None:
    """Lone surrogates, which JSON can carry, do no harm."""
    assert seed_from_parts("\ud800") != seed_from_parts("\ud801")


def test_draws_are_uniform_and_independent_of_each_other() -> None:
    """Draws for different uses of a seed differ, and fill [0, 1) evenly."""
    assert drawn_integer(1, "a") != drawn_integer(1, "b")
    ratios = sorted(drawn_ratio(seed, "x") for seed in range(1_000))
    assert 0 <= ratios[0] < 0.01
    assert 0.45 < ratios[500] < 0.55
    assert 0.99 < ratios[-1] < 1


def test_lognormal_without_spread_is_its_median() -> None:
    """No spread, no draw; with spread half of the draws are below the median."""
    assert drawn_lognormal(1, "x", median=5, spread_ratio=0) == 5
    draws = sorted(drawn_lognormal(seed, "x", median=5, spread_ratio=1) for seed in range(1_000))
    assert 4.4 < draws[500] < 5.6
    assert draws[0] > 0
