"""Checks the arithmetic that an answer writes down. Pure.

Only what is a calculation with numbers on the left of an equals sign and a number on the right
counts; anything else is passed over, so what is found wrong is wrong.
"""

import re
from collections.abc import Iterator
from itertools import islice

MAX_EQUATIONS = 100
_MAX_SIDE_CHARS = 80
_NUMBER = r"\d[\d,]*(?:\.\d+)?|\.\d+"
_TOKEN = re.compile(rf"\s*(?:({_NUMBER})|([-+*/()%^]))")
_SIDE_START = re.compile(rf"[ \t]{{0,3}}(-?)[ \t]?({_NUMBER})[ \t]?(%?)")
_SIDE_CHARS = frozenset("0123456789.,+-*/()%^ \t")
_SENTENCE_END = re.compile(r"[.,][ \t]")
_CURRENCY = re.compile(r"\\?[$€£]")
_EQUALS = re.compile(r"(?<![<>=!:≈])=(?!=)")
_IS_BINARY = re.compile(r"[\d)%][ \t]*[-+*/^][ \t]*[-(\d.]")
_SAME = str.maketrans({"\u00d7": "*", "\u00b7": "*", "\u00f7": "/", "\u2212": "-", "\u2013": "-"})
"""Signs of multiplication and division, minus sign and dash."""

_TIMES = re.compile(r"(?<=[\d)%])[ \t]*[xX][ \t]*(?=[(\d])")
_ESCAPED = re.compile(r"\\(?:times|cdot)\b|\\\*")
_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2, "^": 3}
_MAX_POWER = 64.0
_CONTINUE = frozenset("+-*/^)%")
"""What a calculation begins with whose beginning is no number."""


def check_equations(text: str) -> tuple[int, int, frozenset[float]]:
    """Numbers of right and of wrong equations of a text, and all values that were worked out."""
    text = _TIMES.sub("*", _ESCAPED.sub("*", _CURRENCY.sub("", text)).translate(_SAME))
    right, wrong, results = 0, 0, set()
    for at in _equals_signs(text):
        side = _left_side(text, at)
        match = _SIDE_START.match(text, at + 1)
        if side is None or match is None:
            continue
        value = evaluate(side)
        if value is None:
            continue
        stated = float(match[2].replace(",", "")) * (-1 if match[1] else 1)
        results.add(stated)
        goes_on = text[match.end() : match.end() + 3].lstrip()
        if goes_on[:1] in tuple("+-*/^(") and goes_on[1:2] != ">":
            continue  # a calculation on the right, too: its first number says nothing
        if _agrees(value, stated, match[2], is_percent=bool(match[3])):
            right += 1
        else:
            wrong += 1
    return right, wrong, frozenset(results)


def _equals_signs(text: str) -> Iterator[int]:
    return (match.start() for match in islice(_EQUALS.finditer(text), MAX_EQUATIONS))


def _left_side(text: str, at: int) -> str | None:
    """The calculation that ends before an equals sign; None = there is none."""
    start, first = at, max(0, at - _MAX_SIDE_CHARS)
    while start > first and text[start - 1] in _SIDE_CHARS:
        start -= 1
    side = text[start:at]
    if sentence := list(_SENTENCE_END.finditer(side)):
        side, before = side[sentence[-1].end() :], ""
    else:
        before = text[start - 1 : start]
    side = side.strip()
    is_cut = before not in {"", "=", "\n", "<", ":"} and side[:1] in _CONTINUE
    if is_cut or before in {"_", "\\", "}"} or not _IS_BINARY.search(side):
        return None
    return side


def _agrees(value: float, stated: float, digits: str, *, is_percent: bool) -> bool:
    """Whether a value is what is stated, as exactly as that is written."""
    decimals = len(digits.partition(".")[2])
    slack = 0.5 * 10.0**-decimals + 1e-9 * abs(value)
    if abs(value - stated) <= slack:
        return True
    return is_percent and abs(value * 100 - stated) <= slack


def evaluate(side: str) -> float | None:
    """The value of a calculation with numbers, ``+ - * / ^ %`` and brackets; None = it is none.

    Dijkstra's shunting-yard algorithm: work in proportion to the length, no recursion.
    """
    values: list[float] = []
    operators: list[str] = []
    wants_value, at = True, 0
    side = side.strip()
    while at < len(side):
        match = _TOKEN.match(side, at)
        if match is None:
            return None
        at = match.end()
        number, symbol = match[1], match[2]
        wants_value_next = _take(number, symbol, values, operators, wants_value=wants_value)
        if wants_value_next is None:
            return None
        wants_value = wants_value_next
    if wants_value:
        return None
    while operators:
        if operators[-1] == "(" or not _apply(values, operators.pop()):
            return None
    return values[0] if len(values) == 1 else None


def _take(  # noqa: C901  # one branch a kind of token
    number: str | None,
    symbol: str,
    values: list[float],
    operators: list[str],
    *,
    wants_value: bool,
) -> bool | None:
    """Take a token; whether a value has to follow. None = it may not stand here."""
    if number is not None:
        values.append(float(number.replace(",", "")))
        return False if wants_value else None
    if symbol == "(":
        operators.append(symbol)
        return True if wants_value else None
    if wants_value:
        if symbol != "-":
            return None
        values.append(-1.0)  # a sign: minus one times what follows
        operators.append("*")
        return True
    if symbol == ")":
        return _close(values, operators)
    if symbol == "%":
        values[-1] /= 100
        return False
    while operators and _PRECEDENCE.get(operators[-1], 0) >= _PRECEDENCE[symbol]:
        if not _apply(values, operators.pop()):
            return None
    operators.append(symbol)
    return True


def _close(values: list[float], operators: list[str]) -> bool | None:
    while operators and operators[-1] != "(":
        if not _apply(values, operators.pop()):
            return None
    if not operators:
        return None
    operators.pop()
    return False


def _apply(values: list[float], operator: str) -> bool:
    second, first = values.pop(), values.pop()
    match operator:
        case "+":
            values.append(first + second)
        case "-":
            values.append(first - second)
        case "*":
            values.append(first * second)
        case "/" if second:
            values.append(first / second)
        case "^" if abs(first) <= 1e6 and 0 <= second <= _MAX_POWER:
            values.append(first**second)
        case _:
            return False
    return True
