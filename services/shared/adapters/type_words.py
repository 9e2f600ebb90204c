"""Types in words, for people who wrote a value that does not fit."""

import types
import typing
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any

import msgspec


def describe_type(expected: Any) -> str:
    """What a value of a type is, for people, with its bounds."""
    base = base_type(expected)
    if isinstance(base, types.UnionType):
        return " or ".join(describe_type(member) for member in typing.get_args(base))
    if isinstance(base, type) and issubclass(base, Enum):
        return "one of " + ", ".join(str(member.value) for member in base)
    names = {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        Decimal: "an amount in USD",
        str: "a text",
        type(None): "nothing",
    }
    name = names.get(base, "a list" if typing.get_origin(base) is tuple else "a section")
    return name + _bounds(expected)


def base_type(expected: Any) -> Any:
    """A type without its bounds."""
    return typing.get_args(expected)[0] if typing.get_origin(expected) is Annotated else expected


def _bounds(expected: Any) -> str:
    if typing.get_origin(expected) is not Annotated:
        return ""
    meta: msgspec.Meta = typing.get_args(expected)[1]
    if meta.ge is not None and meta.le is not None:
        return f" from {meta.ge:g} to {meta.le:,}"
    bounds = (("above", meta.gt), ("of at least", meta.ge), ("at most", meta.le))
    return " " + " and ".join(f"{words} {bound:,}" for words, bound in bounds if bound is not None)
