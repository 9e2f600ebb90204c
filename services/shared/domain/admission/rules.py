"""Rules: small functions from a value to what is wrong with it, and the ways to combine them.

Types are strict: ``True`` is no number and ``"1"`` is none either. A rule never sees an absent
value; ``null`` it sees only where the value is required, for an optional field means its default.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from services.shared.domain.admission.faults import (
    Fault,
    missing,
    out_of_range,
    shown,
    too_long,
    wrong_type,
    wrong_value,
)

Rule = Callable[[Any], Fault | None]


def anything(_value: object) -> None:
    """Accepts every value."""


def boolean(value: object) -> Fault | None:
    """Accepts ``true`` and ``false``."""
    return None if type(value) is bool else wrong_type("a boolean", value)


def integer(low: int, high: int) -> Rule:
    """Accepts whole numbers between two bounds, both included."""

    def check(value: object) -> Fault | None:
        if type(value) is not int:
            return wrong_type("an integer", value)
        return None if low <= value <= high else out_of_range(low, high)

    return check


def number(low: float, high: float) -> Rule:
    """Accepts numbers between two bounds, both included."""

    def check(value: object) -> Fault | None:
        if type(value) is not int and type(value) is not float:
            return wrong_type("a number", value)
        return None if low <= value <= high else out_of_range(low, high)

    return check


def text(value: object) -> Fault | None:
    """Accepts every string: contents are delivered as they came, control characters included."""
    return None if type(value) is str else wrong_type("a string", value)


def bounded_text(*, most: int, least: int = 0) -> Rule:
    """Accepts strings of ``least`` to ``most`` characters, whatever they are."""

    def check(value: object) -> Fault | None:
        if type(value) is not str:
            return wrong_type("a string", value)
        if len(value) < least:
            return wrong_value(f"expected at least {least} characters")
        return too_long("characters", most, len(value)) if len(value) > most else None

    return check


def name(*, max_chars: int, may_be_empty: bool = False) -> Rule:
    """Accepts strings that may stand in a log line: no control characters, not endless."""

    def check(value: object) -> Fault | None:
        if type(value) is not str:
            return wrong_type("a string", value)
        if not value and not may_be_empty:
            return wrong_value("expected a non-empty string")
        if len(value) > max_chars:
            return too_long("characters", max_chars, len(value))
        return None if value.isprintable() else wrong_value("expected no control characters")

    return check


def matching(pattern: str, described: str) -> Rule:
    """Accepts strings that match a pattern as a whole."""
    compiled = re.compile(pattern)

    def check(value: object) -> Fault | None:
        if type(value) is not str:
            return wrong_type("a string", value)
        return None if compiled.fullmatch(value) else wrong_value(f"expected {described}")

    return check


def one_of(*accepted: str, code: str = "invalid_value") -> Rule:
    """Accepts some strings."""
    described = ", ".join(f"'{each}'" for each in accepted)

    def check(value: object) -> Fault | None:
        if type(value) is not str:
            return wrong_type("a string", value)
        if value in accepted:
            return None
        return wrong_value(f"expected one of {described}, but got {shown(value)}", code=code)

    return check


def array(item: Rule, *, of: str, most: int, least: int = 0) -> Rule:
    """Accepts arrays of ``least`` to ``most`` values that a rule accepts."""

    def check(value: object) -> Fault | None:
        if type(value) is not list:
            return wrong_type(f"an array of {of}", value)
        fault = size_fault(value, least=least, most=most)
        return fault or items_fault(value, item)

    return check


def size_fault(values: list[Any], *, most: int, least: int = 0) -> Fault | None:
    """What is wrong with an array's length."""
    if len(values) < least:
        return wrong_value(f"expected an array of at least {least}, but got {len(values)}")
    return too_long("items", most, len(values)) if len(values) > most else None


def items_fault(values: list[Any], item: Rule) -> Fault | None:
    """What is wrong with the first item that a rule refuses."""
    for index, value in enumerate(values):
        fault = item(value)
        if fault is not None:
            return fault.within(f"[{index}]")
    return None


def shape(fields: Mapping[str, Rule], *, required: tuple[str, ...] = ()) -> Rule:
    """Accepts objects whose named fields are accepted by their rules; others may be there."""

    def check(value: object) -> Fault | None:
        if type(value) is not dict:
            return wrong_type("an object", value)
        return fields_fault(value, fields, required)

    return check


def fields_fault(
    document: dict[str, Any], fields: Mapping[str, Rule], required: tuple[str, ...]
) -> Fault | None:
    """What is wrong with the named fields of an object, required ones first."""
    for field in required:
        if document.get(field) is None:
            fault = fields[field](None) if field in document else None
            return (fault or missing()).within(field)
    for field, rule in fields.items():
        value = document.get(field)
        if value is not None and (fault := rule(value)) is not None:
            return fault.within(field)
    return None


def by_type(kinds: Mapping[str, Rule], *, other: Rule, field: str = "type") -> Rule:
    """Accepts objects by the rule of the kind that they say they are.

    Args:
        kinds: Rules by kind.
        other: Rule for every other kind.
        field: Where an object says its kind.
    """

    def check(value: object) -> Fault | None:
        if type(value) is not dict:
            return wrong_type("an object", value)
        kind = value.get(field)
        if type(kind) is not str:
            return (wrong_type("a string", kind) if field in value else missing()).within(field)
        return kinds.get(kind, other)(value)

    return check
