"""What the numbers of a question and its answer give away."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.domain.cascade.numbers import signs_of_numbers

NONE: frozenset[float] = frozenset()


@pytest.mark.parametrize(
    ("prompt", "text", "results", "sign", "value"),
    [
        ("How many are 3 and 4?", "They are seven.", NONE, "number_missing", 1.0),
        ("How many are 3 and 4?", "3 + 4 = 7\nThe answer is 9.", {7.0}, "number_from_nowhere", 1.0),
        ("How many are 3 and 4?", "3 + 4 = 7\nThe answer is 7.", {7.0}, "number_from_nowhere", 0.0),
        ("How many are 3 and 4?", "The answer is 9.", NONE, "number_from_nowhere", 0.0),
        ("How much is left of 3?", "He owes -$4.", NONE, "negative_result", 1.0),
        ("How much is left of 3?", "That is 12-4", NONE, "negative_result", 0.0),
        ("How much is left of 3?", "That is (8) - 4", NONE, "negative_result", 0.0),
        ("7 for 3: how many each?", "7 / 3 = 2.33", NONE, "fractional_result", 1.0),
        ("7.5 for 3: how many each?", "7.5 / 3 = 2.5", NONE, "fractional_result", 0.0),
        ("7 for 3: how many each?", "It is 2.00.", NONE, "fractional_result", 0.0),
        ("1,200 of 5, 2 and 3?", "1200 - 5 = 1195", NONE, "unused_numbers", 2.0),
        ("1, 2, 3, 4 or 5?", "It is 6.", NONE, "unused_numbers", 3.0),
        ("20% of 80?", "0.2 * 80 = 16", NONE, "unused_numbers", 0.0),
        ("20% of 80?", "$80 * 20/100 = $16", NONE, "unused_numbers", 0.0),
    ],
)
def test_signs(prompt: str, text: str, results: set[float], sign: str, value: float) -> None:
    """Each is seen where it stands, and not where something like it does."""
    assert signs_of_numbers(prompt, text, frozenset(results)).get(sign, 0.0) == value


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_text_can_be_read(prompt: str, text: str) -> None:
    """Whatever digits and signs it is made of; every sign is a small number."""
    for value in signs_of_numbers(prompt, text, NONE).values():
        assert 0 <= value <= 3
