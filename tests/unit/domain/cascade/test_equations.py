"""The arithmetic of answers: what is found wrong is wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.domain.cascade.equations import check_equations, evaluate


@pytest.mark.parametrize(
    ("text", "right", "wrong"),
    [
        ("9 * $2 = $18.", 1, 0),
        ("9 * $2 = $19.", 0, 1),
        ("16 - 3 = 13 eggs left", 1, 0),
        ("3 x 60 = <<3*60=180>>180 metres", 1, 0),
        ("$80,000 + $50,000 = $130,000", 1, 0),
        ("200 / 100 \\* 40 = 80", 1, 0),
        ("7 \\times 8 = 54", 0, 1),
        ("(12 / 20) x 100 = 60%", 1, 0),
        ("(12 / 20) x 100 = 55%.", 0, 1),
        ("12 / 20 = 60%", 1, 0),
        ("2 / 3 = 0.67", 1, 0),
        ("2 / 3 = 0.69", 0, 1),
        ("-3 + 5 = 2", 1, 0),
        ("5 - 8 = -3", 1, 0),
        ("1. 3 + 4 = 8", 0, 1),
        ("so he has 3, 4 + 5 = 9", 1, 0),
        ("3 * 4 = 12 + 5 = 17", 1, 0),
        ("30% * 50 = 15", 1, 0),
        ("2^10 = 1024", 1, 0),
        ("2x = 10", 0, 0),
        ("x = 5", 0, 0),
        ("3y + 4 - 2 = 8", 0, 0),
        ("y + 3 = 5", 0, 0),
        ("15 + 25 = <<15+2", 0, 0),
        ("a == 3 + 4", 0, 0),
        ("5 / 0 = 3", 0, 0),
        ("3 + = 4", 0, 0),
        ("(3 + 4 = 7", 0, 0),
        ("3 + 4) = 7", 0, 0),
        ("9 ^ 99999 = 3", 0, 0),
    ],
)
def test_equations_are_checked(text: str, right: int, wrong: int) -> None:
    """Numbers of right and wrong ones; what is no calculation with numbers is passed over."""
    assert check_equations(text)[:2] == (right, wrong)


def test_what_was_worked_out_is_told() -> None:
    """The stated results, to compare the final answer with."""
    assert check_equations("3 + 4 = 7, so 7 * 2 = 14.")[2] == {7.0, 14.0}


@pytest.mark.parametrize(
    "side",
    ["", "(", "3 4", "3 + ", "+ 3", "3 ? 4", "()", "3 (4)", "3 -", "%", "5 / 0 + 1", "(5 / 0)"],
)
def test_what_is_no_calculation_has_no_value(side: str) -> None:
    """Whatever stands there."""
    assert evaluate(side) is None


@given(st.integers(0, 999), st.sampled_from("+-*"), st.integers(0, 999), st.integers(1, 9))
def test_true_arithmetic_is_never_called_wrong(a: int, sign: str, b: int, off: int) -> None:
    """And a result that is off by a whole number always is."""
    value = {"+": a + b, "-": a - b, "*": a * b}[sign]
    assert check_equations(f"He has {a} {sign} {b} = {value} left.")[:2] == (1, 0)
    assert check_equations(f"He has {a} {sign} {b} = {value + off} left.")[:2] == (0, 1)


@given(st.text(alphabet="0123456789+-*/()=.,% x$\n", max_size=300))
def test_nothing_breaks_it(text: str) -> None:
    """Any text has numbers of equations."""
    right, wrong, _ = check_equations(text)
    assert right + wrong <= text.count("=")
