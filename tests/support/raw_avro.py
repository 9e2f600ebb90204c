"""Avro written byte by byte, so that a record can be wrong in exactly one place."""

import json
from pathlib import Path

from tests.support.project import ROOT

_AVRO = ROOT / "avro"


def schema_id(record: str) -> int:
    """The id under which a schema is registered, e.g. of ``inference_requested.v1``."""
    ids: dict[str, int] = json.loads((_AVRO / "ids.json").read_text())
    return ids[record]


def enveloped(body: bytes, *, record: str = "inference_requested.v1") -> bytes:
    """A body in Confluent's wire format."""
    return b"\0" + schema_id(record).to_bytes(4, "big") + body


def long(number: int) -> bytes:
    """An Avro ``int`` or ``long``: zigzag, then seven bits a byte."""
    unsigned = (number << 1) ^ (number >> 63)
    out = bytearray()
    while unsigned > 0x7F:
        out.append(unsigned & 0x7F | 0x80)
        unsigned >>= 7
    out.append(unsigned)
    return bytes(out)


def sized(content: bytes) -> bytes:
    """An Avro ``string`` or ``bytes``."""
    return long(len(content)) + content


_EMPTY = {
    "string": sized(b""),
    "bytes": sized(b""),
    "boolean": b"\0",
    "int": long(0),
    "long": long(0),
}
_DEFAULTS = {
    "temperature": long(0),  # the first of the union: null
    "choice_count": long(1),
    "reply_partition": long(-1),
    "cache_policy": b"\0\0" + long(-1) + sized(b""),
}


def inference_requested(**pieces: bytes) -> bytes:
    """The body of an ``InferenceRequested``, version 1, with these encoded fields."""
    document = json.loads((Path(_AVRO) / "inference_requested.v1.avsc").read_text())
    names = {field["name"]: field["type"] for field in document["fields"]}
    assert set(pieces) <= set(names)
    return b"".join(
        pieces.get(name) or _DEFAULTS.get(name) or _EMPTY[kind] for name, kind in names.items()
    )
