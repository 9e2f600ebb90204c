"""JSON values of Avro types, as defaults are written. Pure: no I/O."""

from typing import Any, Final

from msgspec import UNSET

from services.shared.codec.avro_schema import (
    Array,
    Enum,
    Field,
    Fixed,
    Map,
    Primitive,
    Record,
    Schema,
    Type,
    Union,
)

_LIMITS: Final = {"int": 1 << 31, "long": 1 << 63}


def is_json_of(schema: Schema, type_: Type, value: Any) -> bool:
    """Whether a JSON value is of a type; bytes are strings of U+0000 to U+00FF.

    A union takes a value of any branch. The recursion ends with the value, which is finite.
    """
    match schema.concrete(type_):
        case Primitive(name=name):
            return _is_primitive(name, value)
        case Union(branches=branches):
            return any(is_json_of(schema, branch, value) for branch in branches)
        case Array(items=items):
            return isinstance(value, list) and all(is_json_of(schema, items, v) for v in value)
        case Map(values=values):
            return isinstance(value, dict) and all(
                is_json_of(schema, values, v) for v in value.values()
            )
        case Enum(symbols=symbols):
            return value in symbols
        case Fixed(size=size):
            return _is_primitive("bytes", value) and len(value) == size
        case Record(fields=fields):
            return isinstance(value, dict) and all(_is_field(schema, f, value) for f in fields)


def _is_field(schema: Schema, field: Field, record: dict[str, Any]) -> bool:
    if field.name not in record:
        return field.default is not UNSET
    return is_json_of(schema, field.type, record[field.name])


def _is_primitive(name: str, value: Any) -> bool:
    match name:
        case "null":
            return value is None
        case "boolean":
            return isinstance(value, bool)
        case "int" | "long":
            return type(value) is int and -_LIMITS[name] <= value < _LIMITS[name]
        case "float" | "double":
            return type(value) in {int, float}
        case "bytes":
            return isinstance(value, str) and all(ord(char) <= 0xFF for char in value)
        case _:
            return isinstance(value, str)
