"""Rules of inputs that come as text or as token ids, one or several at once."""

from typing import Any

from services.shared.domain.admission.faults import (
    Fault,
    out_of_range,
    wrong_type,
    wrong_value,
)
from services.shared.domain.admission.limits import MAX_INPUTS, MAX_TOKEN_ID
from services.shared.domain.admission.rules import items_fault, size_fault

_EXPECTED = "a string, an array of strings, an array of token ids or an array of those"


def inputs(value: object) -> Fault | None:
    """Accepts a text, texts, token ids, or arrays of token ids; at most ``MAX_INPUTS`` of them."""
    if type(value) is str:
        return None
    if type(value) is not list:
        return wrong_type(_EXPECTED, value)
    if not value:
        return size_fault(value, least=1, most=MAX_INPUTS)
    kind = type(value[0])
    if kind is int:
        return _tokens(value)
    if kind is not str and kind is not list:
        return wrong_type("a string, a token id or an array of token ids", value[0]).within("[0]")
    fault = size_fault(value, most=MAX_INPUTS)
    return fault or items_fault(value, _text if kind is str else _tokens)


def non_empty_inputs(value: object) -> Fault | None:
    """Accepts what ``inputs`` accepts, but no empty text."""
    fault = inputs(value)
    if fault is not None:
        return fault
    if value == "":
        return wrong_value("expected a non-empty string")
    if type(value) is list and "" in value:
        return wrong_value("expected a non-empty string").within(f"[{value.index('')}]")
    return None


def count_of_inputs(value: Any) -> int:
    """How many inputs an accepted value holds; an absent one counts as one."""
    return len(value) if type(value) is list and type(value[0]) is not int else 1


def _text(value: object) -> Fault | None:
    return None if type(value) is str else wrong_type("a string, as the first item is", value)


def _tokens(value: object) -> Fault | None:
    if type(value) is not list:
        return wrong_type("an array of token ids, as the first item is", value)
    if not value:
        return wrong_value("expected at least one token id")
    if set(map(type, value)) != {int}:
        index, odd = next(pair for pair in enumerate(value) if type(pair[1]) is not int)
        return wrong_type("a token id", odd).within(f"[{index}]")
    if min(value) < 0 or max(value) > MAX_TOKEN_ID:
        return out_of_range(0, MAX_TOKEN_ID)
    return None
