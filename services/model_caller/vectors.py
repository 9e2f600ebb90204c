"""Vectors of single inputs as they are kept: packed floats, and back into either encoding. Pure.

A vector that came as base64, or as numbers that 32 bits hold exactly, is kept as 32-bit floats.
Numbers that need more, as most providers print them, are kept as 64-bit floats, so that what is
served from here is to the digit what was received: it is rounded only where base64 is wanted of
numbers, which is what the provider would have done.
"""

import sys
from array import array
from base64 import b64encode
from binascii import Error, a2b_base64

import msgspec

from services.shared.domain.kept_vectors import HEAD

_FORM = 1
_WIDTHS = {"f": 4, "d": 8}
_MAX_MODEL_BYTES = 255


class Vector(msgspec.Struct, frozen=True, kw_only=True):
    """The vector of one input.

    Attributes:
        packed: Little-endian floats.
        width: ``f`` = of 32 bits each, ``d`` = of 64.
        tokens: Input tokens that it cost.
        kept_at: When it came, unix ms.
        model: Model that the provider says made it.
    """

    packed: bytes
    width: str = "f"
    tokens: int = 0
    kept_at: int = 0
    model: str = ""


def vector_of_json(
    embedding: msgspec.Raw, *, tokens: int, now_ms: float, model: str
) -> Vector | None:
    """Pack an embedding as a provider sent it; None when it is not numbers, nor base64 of them."""
    try:
        given = msgspec.json.decode(embedding, type=str | list[float])
        if isinstance(given, str):
            packed, width = a2b_base64(given, strict_mode=True), "f"
        else:
            packed, width = _packed(given)
    except (msgspec.DecodeError, Error, ValueError, OverflowError):
        return None
    if not packed or len(packed) % _WIDTHS[width]:
        return None
    name = model if len(model.encode()) <= _MAX_MODEL_BYTES else ""
    return Vector(packed=packed, width=width, tokens=tokens, kept_at=int(now_ms), model=name)


def json_of_vector(vector: Vector, *, is_base64: bool) -> msgspec.Raw:
    """A vector as an answer has it."""
    if is_base64 and vector.width == "f":
        return msgspec.Raw(b'"' + b64encode(vector.packed) + b'"')
    floats = array(vector.width, vector.packed)
    if sys.byteorder == "big":
        floats.byteswap()
    if not is_base64:
        return msgspec.Raw(msgspec.json.encode(floats.tolist()))
    return msgspec.Raw(b'"' + b64encode(_little_endian(array("f", floats))) + b'"')


def value_of_vector(vector: Vector) -> bytes:
    """A vector as it is kept."""
    model = vector.model.encode()
    head = HEAD.pack(_FORM, vector.width.encode(), vector.tokens, vector.kept_at, len(model))
    return head + model + vector.packed


def vector_of_value(value: bytes) -> Vector | None:
    """Read what is kept; None when it is of another form, or damaged."""
    if len(value) <= HEAD.size:
        return None
    form, width, tokens, kept_at, model_bytes = HEAD.unpack_from(value)
    begin = HEAD.size + model_bytes
    packed = value[begin:]
    size_bytes = _WIDTHS.get(width.decode("latin-1"))
    if form != _FORM or size_bytes is None or not packed or len(packed) % size_bytes:
        return None
    model = value[HEAD.size : begin].decode(errors="replace")
    return Vector(packed=packed, width=width.decode(), tokens=tokens, kept_at=kept_at, model=model)


def _packed(numbers: list[float]) -> tuple[bytes, str]:
    floats = array("f", numbers)
    if floats.tolist() == numbers:
        return _little_endian(floats), "f"
    return _little_endian(array("d", numbers)), "d"


def _little_endian(floats: "array[float]") -> bytes:
    if sys.byteorder == "big":
        floats = floats[:]
        floats.byteswap()
    return floats.tobytes()
