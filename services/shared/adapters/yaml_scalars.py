"""A YAML scalar → a value of the type that the configuration expects there."""

import typing
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import Annotated, Any

import msgspec
import yaml

_TAG = "tag:yaml.org,2002:"
_TRUTHS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def scalar_value(node: yaml.ScalarNode, expected: Any) -> Any:
    """Read one scalar.

    Where a text is expected the written text counts, so ``tier: no`` and ``model: 4.1`` are texts
    without quotes. Amounts are read from their digits and never pass through a float.

    Raises:
        ValueError: It is not of that type or out of its bounds; the text says what is wanted.
    """
    try:
        return msgspec.convert(_plain(node, _base(expected)), expected)
    except (msgspec.ValidationError, InvalidOperation) as error:
        msg = f"'{node.value[:64]}' is not {describe_type(expected)}"
        raise ValueError(msg) from error


def describe_type(expected: Any) -> str:
    """What a value of a type is, for people, with its bounds."""
    base = _base(expected)
    if isinstance(base, type) and issubclass(base, Enum):
        return "one of " + ", ".join(str(member.value) for member in base)
    names = {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        Decimal: "an amount in USD",
        str: "a text",
    }
    name = names.get(base, "a list" if typing.get_origin(base) is tuple else "a section")
    return name + _bounds(expected)


def _plain(node: yaml.ScalarNode, base: Any) -> Any:
    if base is str or (isinstance(base, type) and issubclass(base, Enum)):
        return node.value
    if node.tag == f"{_TAG}bool":
        return _TRUTHS[node.value.lower()]
    if node.tag == f"{_TAG}int" and node.value.lstrip("+-").replace("_", "").isdecimal():
        return int(node.value)
    if node.tag == f"{_TAG}float":
        amount = Decimal(node.value.replace("_", ""))
        return float(amount) if base is float else amount
    return node.value


def _base(expected: Any) -> Any:
    return typing.get_args(expected)[0] if typing.get_origin(expected) is Annotated else expected


def _bounds(expected: Any) -> str:
    if typing.get_origin(expected) is not Annotated:
        return ""
    meta: msgspec.Meta = typing.get_args(expected)[1]
    if meta.gt is not None:
        return f" above {meta.gt:g} and at most {meta.le:,}"
    return (
        f" from {meta.ge:g} to {meta.le:,}" if meta.le is not None else f" of at least {meta.ge:g}"
    )
