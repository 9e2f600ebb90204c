"""Rules for our own schema files, beyond being Avro. Pure: no I/O.

Two of them keep a record from ending the process that reads it (no recursion, no items without
bytes); the others keep the schemas readable for people who only have the registry.
"""

import re
from collections.abc import Iterator
from typing import Final

from services.shared.codec.avro_parser import schema_from_text
from services.shared.codec.avro_schema import (
    Array,
    Definition,
    Field,
    Map,
    Named,
    Primitive,
    Record,
    Schema,
    Type,
    Union,
    unqualified,
)
from services.shared.codec.avro_source import min_width_bytes
from services.shared.codec.errors import InvalidSchema

NAMESPACE: Final = "millrace"
_NUMBERS: Final = frozenset({"int", "long", "float", "double"})
_UNIT: Final = re.compile(
    r"\b(ms|seconds?|bytes?|tokens?|nano-USD|USD|ratio|hours?|days?)\b"  # measures
    r"|\b(number of|how often|how many|count of|members of)\b"  # counts
    r"|\b(partition|offset|position|priority|HTTP status|temperature)\b"  # scales of their own
    r"|\b\d+ = ",  # codes, each explained
    re.IGNORECASE,
)


def camel_case(snake_case: str) -> str:
    """Turn ``inference_requested`` into ``InferenceRequested``."""
    return "".join(part.capitalize() for part in snake_case.split("_"))


def problems(stem: str, text: str) -> list[str]:
    """List what is wrong with a schema file; each text begins with the place.

    Args:
        stem: The file's name without ``.avsc``: ``<record>.v<n>``.
        text: The file's text.
    """
    try:
        schema = schema_from_text(text)
        record = schema.root_record()
    except InvalidSchema as error:
        return [f"{stem}: {error}"]
    return [
        *_name_problems(stem, record),
        *(p for d in schema.definitions.values() for p in _definition_problems(schema, d)),
    ]


def id_problems(ids: dict[str, int], released: dict[str, int]) -> list[str]:
    """List what is wrong with ``ids.json``, given the ids that records already carry."""
    found = [
        f"{stem}: released as {schema_id}, now {ids.get(stem, 'gone')}"
        for stem, schema_id in released.items()
        if ids.get(stem) != schema_id
    ]
    if sorted(ids.values()) != list(range(1, len(ids) + 1)):
        found.append("ids.json: the ids are not 1, 2, 3, … each once")
    return found


def _name_problems(stem: str, record: Record) -> Iterator[str]:
    expected = f"{NAMESPACE}.{camel_case(stem.partition('.')[0])}"
    if record.name != expected:
        yield f"{stem}: the record is named {record.name}, not {expected}"


def _definition_problems(schema: Schema, definition: Definition) -> Iterator[str]:
    name = unqualified(definition.name)
    if definition.name != f"{NAMESPACE}.{name}":
        yield f"{name}: not in the namespace {NAMESPACE}"
    if not definition.doc.strip():
        yield f"{name}: no doc"
    if not isinstance(definition, Record):
        return
    if definition.name in _reachable(schema, definition):
        yield f"{name}: recursive"
    for field in definition.fields:
        yield from _field_problems(schema, f"{name}.{field.name}", field)


def _field_problems(schema: Schema, path: str, field: Field) -> Iterator[str]:
    types = list(_parts(field.type))
    if not field.doc.strip():
        yield f"{path}: no doc"
    elif any(map(_is_number, types)) and not _UNIT.search(field.doc):
        yield f"{path}: a number whose doc names no unit"
    for part in types:
        items = part.items if isinstance(part, Array) else None
        items = part.values if isinstance(part, Map) else items
        if items is not None and min_width_bytes(schema, items) == 0:
            yield f"{path}: items without bytes"


def _is_number(type_: Type) -> bool:
    return isinstance(type_, Primitive) and type_.name in _NUMBERS


def _parts(type_: Type) -> Iterator[Type]:
    """Yield a type and the types inside it, names not followed."""
    yield type_
    match type_:
        case Array(items=inner) | Map(values=inner):
            yield from _parts(inner)
        case Union(branches=branches):
            for branch in branches:
                yield from _parts(branch)
        case _:
            return


def _reachable(schema: Schema, record: Record) -> set[str]:
    """Return the names of all records inside a record."""
    found: set[str] = set()
    waiting = [record]
    while waiting:
        for field in waiting.pop().fields:
            for part in _parts(field.type):
                inner = schema.concrete(part) if isinstance(part, Named) else None
                if isinstance(inner, Record) and inner.name not in found:
                    found.add(inner.name)
                    waiting.append(inner)
    return found
