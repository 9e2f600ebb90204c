"""Parses Avro schemas, strictly.

Schemas come from our own files, but also from whoever registers one, so the parser refuses
what a lenient one accepts in silence (doubled fields, unions in unions, names that are none)
and never recurses deeper than ``MAX_DEPTH``. Pure: no I/O.
"""

import re
from typing import Any, Final

import msgspec
from msgspec import UNSET

from services.shared.codec.avro_schema import (
    PRIMITIVES,
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
    unqualified,
)
from services.shared.codec.avro_values import is_json_of
from services.shared.codec.errors import InvalidSchema
from services.shared.domain.no_json import NO_JSON

MAX_DEPTH: Final = 32
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LOGICAL: Final = ("logicalType", "precision", "scale")
_INT_MAX: Final = 2**31 - 1


def schema_from_text(text: str | bytes) -> Schema:
    """Parse the JSON text of a schema.

    Raises:
        InvalidSchema: It is not JSON or not an Avro schema.
    """
    try:
        return schema_from_json(msgspec.json.decode(text))
    except NO_JSON as error:
        raise InvalidSchema(f"the schema is not JSON: {error}") from error


def schema_from_json(document: Any) -> Schema:
    """Check a schema given as decoded JSON.

    Raises:
        InvalidSchema: It is not an Avro schema.
    """
    parser = _Parser()
    root = parser.type(document, namespace="", depth=0)
    schema = Schema(root=root, definitions=parser.definitions)
    for definition in schema.definitions.values():
        fields = definition.fields if isinstance(definition, Record) else ()
        for field in fields:
            if field.default is not UNSET and not is_json_of(schema, field.type, field.default):
                raise InvalidSchema(
                    f"the default of {definition.name}.{field.name} is not of its type"
                )
    return schema


class _Parser:
    """Collects the named types while it walks down the document."""

    def __init__(self) -> None:
        """Begin with no named type."""
        self.definitions: dict[str, Definition] = {}

    def type(self, node: Any, *, namespace: str, depth: int) -> Type:
        if depth > MAX_DEPTH:
            raise InvalidSchema(f"the schema is nested deeper than {MAX_DEPTH} levels")
        match node:
            case str():
                return self._reference(node, namespace)
            case list():
                return self._union(node, namespace, depth)
            case {"type": str(kind)}:
                return self._object(kind, node, namespace, depth)
            case {"type": inner}:
                return self.type(inner, namespace=namespace, depth=depth + 1)
            case _:
                raise InvalidSchema("a type is a name, a list or an object with the key 'type'")

    def _object(self, kind: str, node: dict[str, Any], namespace: str, depth: int) -> Type:
        match kind:
            case "array":
                return Array(self.type(_key(node, "items"), namespace=namespace, depth=depth + 1))
            case "map":
                return Map(self.type(_key(node, "values"), namespace=namespace, depth=depth + 1))
            case "record" | "enum" | "fixed":
                return self._definition(node, namespace, depth)
            case _:
                reference = self._reference(kind, namespace)
        if isinstance(reference, Primitive):
            return Primitive(reference.name, logical=_logical(node))
        return reference

    def _reference(self, name: str, namespace: str) -> Primitive | Named:
        if name in PRIMITIVES:
            return Primitive(name)
        for candidate in (_qualified(name, namespace), name):
            if candidate in self.definitions:
                return Named(candidate)
        raise InvalidSchema(f"unknown type {name!r}")

    def _union(self, node: list[Any], namespace: str, depth: int) -> Union:
        branches = tuple(self.type(n, namespace=namespace, depth=depth + 1) for n in node)
        if not branches:
            raise InvalidSchema("a union needs a branch")
        kinds = [b.name if isinstance(b, Primitive | Named) else type(b) for b in branches]
        if Union in kinds or len(set(kinds)) != len(kinds):
            raise InvalidSchema("a union holds a union, or a type twice")
        return Union(branches)

    def _definition(self, node: dict[str, Any], namespace: str, depth: int) -> Named:
        space = node.get("namespace", namespace)
        name = _qualified(_key(node, "name"), space)
        if name in self.definitions or unqualified(name) in PRIMITIVES:
            raise InvalidSchema(f"the name {name!r} is already taken")
        inner = name.rpartition(".")[0]
        aliases = tuple(_qualified(alias, inner) for alias in _strings(node, "aliases"))
        doc = str(node.get("doc", ""))
        match node["type"]:
            case "enum":
                self.definitions[name] = _enum(node, name, aliases, doc)
            case "fixed":
                size = _key(node, "size")
                if type(size) is not int or not 0 <= size <= _INT_MAX:
                    raise InvalidSchema(f"the size of {name} is not a number of bytes")
                self.definitions[name] = Fixed(name, size, aliases, doc, _logical(node))
            case _:
                self.definitions[name] = Record(name, (), aliases, doc)  # may refer to itself
                fields = self._fields(node, name, inner, depth)
                self.definitions[name] = Record(name, fields, aliases, doc)
        return Named(name)

    def _fields(
        self, node: dict[str, Any], record: str, namespace: str, depth: int
    ) -> tuple[Field, ...]:
        nodes = _key(node, "fields")
        if not isinstance(nodes, list) or not all(isinstance(n, dict) for n in nodes):
            raise InvalidSchema(f"the fields of {record} are not a list of objects")
        fields = tuple(
            Field(
                name=_checked_name(_key(n, "name")),
                type=self.type(_key(n, "type"), namespace=namespace, depth=depth + 1),
                default=n.get("default", UNSET),
                aliases=tuple(_checked_name(alias) for alias in _strings(n, "aliases")),
                doc=str(n.get("doc", "")),
            )
            for n in nodes
        )
        if len({field.name for field in fields}) != len(fields):
            raise InvalidSchema(f"{record} has a field twice")
        return fields


def _enum(node: dict[str, Any], name: str, aliases: tuple[str, ...], doc: str) -> Enum:
    symbols = tuple(_checked_name(symbol) for symbol in _strings(node, "symbols"))
    default = node.get("default")
    if not symbols or len(set(symbols)) != len(symbols):
        raise InvalidSchema(f"{name} has no symbol, or one twice")
    if default is not None and default not in symbols:
        raise InvalidSchema(f"the default of {name} is none of its symbols")
    return Enum(name, symbols, default, aliases, doc)


def _key(node: dict[str, Any], key: str) -> Any:
    if key not in node:
        raise InvalidSchema(f"a {node.get('type', 'field')!r} lacks the key {key!r}")
    return node[key]


def _strings(node: dict[str, Any], key: str) -> list[str]:
    values = node.get(key, [])
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise InvalidSchema(f"{key!r} is not a list of strings")
    return values


def _checked_name(name: Any) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidSchema(f"{name!r} is not a name")
    return name


def _qualified(name: Any, namespace: Any) -> str:
    if not isinstance(name, str) or not isinstance(namespace, str):
        raise InvalidSchema("a name and a namespace are strings")
    full_name = name if "." in name or not namespace else f"{namespace}.{name}"
    for part in full_name.removeprefix(".").split("."):
        _checked_name(part)
    return full_name.removeprefix(".")


def _logical(node: dict[str, Any]) -> str:
    kept = {key: node[key] for key in _LOGICAL if key in node}
    return msgspec.json.encode(kept, order="sorted").decode() if "logicalType" in kept else ""
