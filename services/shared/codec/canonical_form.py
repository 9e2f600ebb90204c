"""Canonical texts of a schema: what two texts of the same schema have in common.

Two forms, because two questions are asked. The *parsing* form (Avro specification) holds what
is needed to read bytes; its SHA-256 is the fingerprint. The *resolution* form also holds
defaults, aliases and logical types, which decide how other versions are read; schemas of one
resolution form are one schema. Pure: no I/O.
"""

import hashlib
from typing import Any

import msgspec
from msgspec import UNSET

from services.shared.codec.avro_schema import (
    Array,
    Definition,
    Enum,
    Field,
    Fixed,
    Map,
    Named,
    Primitive,
    Record,
    Schema,
    Type,
    Union,
)


def parsing_form(schema: Schema) -> str:
    """Write a schema in Avro's Parsing Canonical Form."""
    return _text(_Writer(schema, resolution=False).type(schema.root))


def resolution_form(schema: Schema) -> str:
    """Write a schema with all that decides how records are read, and without prose."""
    return _text(_Writer(schema, resolution=True).type(schema.root))


def fingerprint(schema: Schema) -> str:
    """Return the SHA-256 of the parsing form, in hexadecimal."""
    return hashlib.sha256(parsing_form(schema).encode()).hexdigest()


def _text(document: Any) -> str:
    return msgspec.json.encode(document).decode()


class _Writer:
    """Writes each named type in full once, and by its name afterwards."""

    def __init__(self, schema: Schema, *, resolution: bool) -> None:
        self._schema = schema
        self._resolution = resolution
        self._written: set[str] = set()

    def type(self, type_: Type) -> Any:
        match type_:
            case Primitive(name=name, logical=logical):
                return {"type": name, "logical": logical} if self._logical(logical) else name
            case Array(items=items):
                return {"type": "array", "items": self.type(items)}
            case Map(values=values):
                return {"type": "map", "values": self.type(values)}
            case Union(branches=branches):
                return [self.type(branch) for branch in branches]
            case Named(name=name):
                if name in self._written:
                    return name
                self._written.add(name)
                return self._definition(self._schema.definitions[name])

    def _definition(self, definition: Definition) -> dict[str, Any]:
        written: dict[str, Any] = {"name": definition.name}
        match definition:
            case Record(fields=fields):
                written |= {"type": "record", "fields": [self._field(field) for field in fields]}
            case Enum(symbols=symbols, default=default):
                written |= {"type": "enum", "symbols": symbols}
                if self._resolution and default is not None:
                    written["default"] = default
            case Fixed(size=size, logical=logical):
                written |= {"type": "fixed", "size": size}
                if self._logical(logical):
                    written["logical"] = logical
        return written | self._aliases(definition.aliases)

    def _field(self, field: Field) -> dict[str, Any]:
        written: dict[str, Any] = {"name": field.name, "type": self.type(field.type)}
        if self._resolution and field.default is not UNSET:
            written["default"] = field.default
        return written | self._aliases(field.aliases)

    def _aliases(self, aliases: tuple[str, ...]) -> dict[str, Any]:
        return {"aliases": sorted(aliases)} if self._resolution and aliases else {}

    def _logical(self, logical: str) -> bool:
        return self._resolution and logical != ""
