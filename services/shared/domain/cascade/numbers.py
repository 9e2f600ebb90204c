"""What the numbers of a question and of its answer give away, where a quantity is asked for. Pure.

A result that is not whole where every number of the question is, one below zero, and a number of
the question that is never used speak against an answer: recorded ones of a real model bear it out
(``tests/evaluation/cascade.py``).
"""

import re

_MAX_CHARS = 8_000
_MAX_LINE_CHARS = 500
_MOST_UNUSED = 3
_NUMBER = re.compile(r"(?<![\w.,])(\d[\d,]*(?:\.\d+)?|\.\d+)")
_RESULT = re.compile(r"(?:(?<![\w)%])(-)\\?[$€£]?)?(\d[\d,]*(?:\.\d+)?)")


def signs_of_numbers(prompt: str, text: str, results: frozenset[float]) -> dict[str, float]:
    """The signals of an answer to a question for a quantity.

    Args:
        prompt: The question.
        text: The whole answer.
        results: All values that the answer works out.
    """
    number = _last_number(text)
    if number is None:
        return {"number_missing": 1.0}
    given, used = _numbers(prompt), _numbers(text) | results
    unused = sum(it not in used and it / 100 not in used for it in given)
    is_fraction = number != round(number) and all(it == round(it) for it in given)
    return {
        "number_from_nowhere": float(bool(results) and number not in results),
        "negative_result": float(number < 0),
        "fractional_result": float(is_fraction),
        "unused_numbers": float(min(unused, _MOST_UNUSED)),
    }


def _last_number(text: str) -> float | None:
    """The last number of the last line that says something."""
    line = text.rstrip().rsplit("\n", 1)[-1]
    numbers = _RESULT.findall(line[-_MAX_LINE_CHARS:])
    if not numbers:
        return None
    sign, digits = numbers[-1]
    return float(f"{sign}{digits.replace(',', '')}")


def _numbers(text: str) -> set[float]:
    return {float(it.replace(",", "")) for it in _NUMBER.findall(text[:_MAX_CHARS])}
