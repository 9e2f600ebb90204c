"""JSON of strangers: one object in UTF-8, no key twice, bounded in every dimension.

A parser alone is not enough. All common ones keep the last of two equal keys, so two readers of one
body may see two requests, and none bounds depth or the number of values. Both show in the body's
*skeleton*, which is what is left of it without its strings: brackets, colons, commas and numbers.
A skeleton costs a few passes at memory speed. It is exact for as much of the body as is valid JSON,
and where the body stops being JSON the parser refuses it; so no check here can be led astray by
malformed text, at worst it is refused with another code.
"""

import json
import re
from itertools import accumulate
from typing import Any

import msgspec

from services.shared.domain.admission.faults import shown
from services.shared.domain.admission.limits import (
    MAX_FIELDS,
    MAX_JSON_CONTAINERS,
    MAX_JSON_DEPTH,
    MAX_JSON_SEPARATORS,
    MAX_JSON_STRINGS,
)
from services.shared.domain.errors import PublicError

JsonObject = dict[str, Any]

_DECODER = msgspec.json.Decoder()
_MAX_QUOTES = 2 * MAX_JSON_STRINGS
_MAX_NAMED_DUPLICATE_BYTES = 65_536
_INT64_END = 2.0**63
_DIGITS_AS_ZERO = bytes.maketrans(b"123456789", b"000000000")
_TWENTY_DIGITS = b"0" * 20
_INTEGER_OF_TWENTY_DIGITS = re.compile(rb"(?<![\d.])\d{20,}+(?![\d.eE])")
_HALF_A_PAIR = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])")
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[{]}"))
_MAX_BRACKETS = 2 * MAX_JSON_CONTAINERS


def parse_object(
    body: bytes, *, max_bytes: int, max_depth: int = MAX_JSON_DEPTH
) -> JsonObject | PublicError:
    """Parse a request body.

    Numbers that are whole become ``int`` however they are written (``1.0``, ``1e3``): JSON does not
    tell them apart.

    Args:
        body: Bytes as received.
        max_bytes: Longest body.
        max_depth: Most objects and arrays inside one another; the outermost counts as one.
    """
    error = _length_error(body, max_bytes)
    if error is not None:
        return error
    unescaped = body.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in body else body
    if unescaped.count(b'"') > _MAX_QUOTES:
        return _too_complex("strings", MAX_JSON_STRINGS)
    skeleton = b"".join(unescaped.split(b'"')[::2])
    error = _skeleton_error(skeleton, max_depth)
    if error is not None:
        return error
    try:
        document = _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as why:
        # of half a pair near the end of a body the parser says that the body is cut off
        is_half = "truncated" in str(why) and _HALF_A_PAIR.search(unescaped)
        what = "half a surrogate pair in a string" if is_half else str(why)
        return PublicError(
            code="json_invalid", message=f"The body is not valid JSON in UTF-8 ({what})."
        )
    return _document_error(document, skeleton, body) or document


def _length_error(body: bytes, max_bytes: int) -> PublicError | None:
    if len(body) > max_bytes:
        return PublicError(
            code="body_too_large",
            message=f"The body has {len(body)} bytes; at most {max_bytes} are accepted.",
        )
    if not body or body.isspace():
        return PublicError(code="json_empty", message="The body is empty; send a JSON object.")
    return None


def _skeleton_error(skeleton: bytes, max_depth: int) -> PublicError | None:
    containers = skeleton.count(b"{") + skeleton.count(b"[")
    if containers > max_depth and _is_deeper(skeleton, max_depth):
        return PublicError(
            code="json_too_deep",
            message=f"The body nests objects and arrays more than {max_depth} deep.",
        )
    if containers > MAX_JSON_CONTAINERS:
        return _too_complex("objects and arrays", MAX_JSON_CONTAINERS)
    if skeleton.count(b",") > MAX_JSON_SEPARATORS:
        return _too_complex("values", MAX_JSON_SEPARATORS)
    has_long_number = _TWENTY_DIGITS in skeleton.translate(_DIGITS_AS_ZERO)
    if has_long_number and _INTEGER_OF_TWENTY_DIGITS.search(skeleton):
        return PublicError(
            code="out_of_range", message="The body has an integer of more than 19 digits."
        )
    return None


def _document_error(document: Any, skeleton: bytes, body: bytes) -> PublicError | None:
    if not isinstance(document, dict):
        return PublicError(
            code="body_not_object", message="The body must be a JSON object at its top level."
        )
    if len(document) > MAX_FIELDS:
        return _too_complex("top-level fields", MAX_FIELDS)
    return None if _settle(document) == skeleton.count(b":") else _duplicate(body)


def _is_deeper(skeleton: bytes, max_depth: int) -> bool:
    """Whether more objects and arrays than that are open at once, as far as their bound reaches."""
    steps = skeleton.translate(_STEPS, _NOT_BRACKETS)[:_MAX_BRACKETS]
    return max(accumulate(memoryview(steps).cast("b"))) > max_depth


def _too_complex(what: str, bound: int) -> PublicError:
    return PublicError(
        code="json_too_complex",
        message=f"The body has more than {bound} {what}; send less at once.",
    )


def _settle(document: JsonObject) -> int:
    """Make whole floats ints, in place, and count the keys; one walk, as a second costs as much."""
    keys = 0
    nodes: list[JsonObject | list[Any]] = [document]
    while nodes:
        node = nodes.pop()
        if isinstance(node, dict):
            keys += len(node)
            for key, value in node.items():
                kind = type(value)
                if kind is str:
                    continue
                if kind is dict or kind is list:
                    nodes.append(value)
                elif kind is float:
                    node[key] = settled(value)
        else:
            _settle_items(node, nodes)
    return keys


def _settle_items(items: list[Any], nodes: list[JsonObject | list[Any]]) -> None:
    kinds = set(map(type, items))  # long arrays hold one kind: texts, token ids, messages
    if dict in kinds or list in kinds:
        nodes.extend(item for item in items if type(item) is dict or type(item) is list)
    if float in kinds:
        items[:] = [settled(item) if type(item) is float else item for item in items]


def settled(value: float) -> int | float:
    """A whole number as ``int``, if it fits into 64 bits; any other as it is."""
    return int(value) if value.is_integer() and -_INT64_END <= value < _INT64_END else value


def _duplicate(body: bytes) -> PublicError:
    name = _duplicate_key(body) if len(body) <= _MAX_NAMED_DUPLICATE_BYTES else None
    which = "A key" if name is None else f"The key {shown(name)}"
    return PublicError(
        code="duplicate_key",
        message=f"{which} appears twice in one object; it would be read differently by different"
        " readers.",
    )


def _duplicate_key(body: bytes) -> str | None:
    """The first key that stands twice in one object; slow, so only for the message."""
    found: list[str] = []

    def note(pairs: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                found.append(key)
            seen.add(key)

    json.loads(body, object_pairs_hook=note)
    return found[0] if found else None
