"""A YAML scalar → a value of the type that the configuration expects there."""

from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import Any

import msgspec
import yaml

from services.shared.adapters.type_words import base_type, describe_type

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
        return msgspec.convert(_plain(node, base_type(expected)), expected)
    except (msgspec.ValidationError, InvalidOperation) as error:
        msg = f"'{node.value[:64]}' is not {describe_type(expected)}"
        raise ValueError(msg) from error


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
