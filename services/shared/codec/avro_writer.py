"""Makes a Python function that writes the Avro body of a schema; see ``avro_reader``.

Strict in what it takes: every field present and none unknown, no number beyond its type, bytes
and text never one for the other.
"""

import struct
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn, TypeAlias, cast

from services.shared.codec.avro_schema import (
    Array,
    Enum,
    Fixed,
    Map,
    Primitive,
    Record,
    Schema,
    Type,
    Union,
)
from services.shared.codec.avro_source import FunctionSource
from services.shared.codec.errors import InvalidSchema

Writer: TypeAlias = Callable[[bytearray, Any], None]

_NO_STRUCTS: Final[Mapping[str, type]] = {}


def compile_writer(schema: Schema, structs: Mapping[str, type] = _NO_STRUCTS) -> Writer:
    """Make the function that appends values of a schema to a buffer.

    It raises ``TypeError``, ``ValueError``, ``LookupError``, ``AttributeError``,
    ``OverflowError`` or ``struct.error`` where the value does not fit.

    Raises:
        InvalidSchema: As ``compile_reader``; also for unions other than "null or one type".
    """
    writer = _WriterSource(schema, structs)
    writer.write(schema.root, "x")
    return cast(Writer, writer.function("write(out, x)", ["put = out.append"], _HELPERS))


class _WriterSource(FunctionSource):
    """Each method emits the lines that append the value of an expression to ``out``."""

    def write(self, type_: Type, expression: str) -> None:
        concrete = self.schema.concrete(type_)
        match concrete:
            case Primitive(name=name):
                self._primitive(name, expression)
            case Record():
                self._record(concrete, expression)
            case Union(branches=branches):
                self._optional(branches, expression)
            case Array(items=items):
                self._loop(items, expression, is_map=False)
            case Map(values=values):
                self._loop(values, expression, is_map=True)
            case Enum(symbols=symbols):
                positions = {symbol: position for position, symbol in enumerate(symbols)}
                self.line(f"put_long(out, {self.constant(positions)}[{expression}])")
            case Fixed(size=size):
                value = self._bytes(expression)
                self.line(f'if len({value}) != {size}: raise ValueError("not {size} bytes")')
                self.line(f"out += {value}")

    def _bytes(self, expression: str) -> str:
        value = self.variable()
        self.line(f"{value} = {expression}")
        self.line(f"if {value}.__class__ is not bytes: wrong_type({value})")
        return value

    def _length(self, value: str) -> None:
        self.line(f"n = len({value})")
        self.line("if n < 64: put(n << 1)")
        self.line("else: put_long(out, n)")

    def _primitive(self, name: str, expression: str) -> None:
        value = self.variable()
        match name:
            case "null":
                self.line(f"if {expression} is not None: wrong_type({expression})")
            case "boolean":
                self.line(f"{value} = {expression}")
                self.line(f"if {value} is True: put(1)")
                self.line(f"elif {value} is False: put(0)")
                self.line(f"else: wrong_type({value})")
            case "int" | "long":
                self.line(f"{value} = {expression}")
                self.line(f"if 0 <= {value} < 64: put({value} << 1)")
                self.line(f"else: put_{name}(out, {value})")
            case "float" | "double":
                self.line(f"out += {name}_bytes({expression})")
            case "bytes":
                value = self._bytes(expression)
                self._length(value)
                self.line(f"out += {value}")
            case _:
                self.line(f"{value} = {expression}.encode()")
                self._length(value)
                self.line(f"out += {value}")

    def _record(self, record: Record, expression: str) -> None:
        value = self.variable()
        self.line(f"{value} = {expression}")
        is_struct = record.name in self.structs
        if not is_struct:
            names = self.constant(tuple(field.name for field in record.fields))
            self.line(f"if len({value}) != {len(record.fields)}: wrong_fields({names}, {value})")
        with self.inside(record):
            for field in record.fields:
                access = f"{value}.{field.name}" if is_struct else f"{value}[{field.name!r}]"
                self.write(field.type, access)

    def _optional(self, branches: tuple[Type, ...], expression: str) -> None:
        if len(branches) != 2 or Primitive("null") not in branches:
            raise InvalidSchema("a union that is not 'null or one type' is not written here")
        null = branches.index(Primitive("null"))
        value = self.variable()
        self.line(f"{value} = {expression}")
        self.line(f"if {value} is None: put({null << 1})")
        with self.block("else:"):
            self.line(f"put({(1 - null) << 1})")
            self.write(branches[1 - null], value)

    def _loop(self, items: Type, expression: str, *, is_map: bool) -> None:
        value, item = self.variable(), self.variable()
        self.line(f"{value} = {expression}")
        kinds = "MAPS" if is_map else "LISTS"
        self.line(f"if {value}.__class__ not in {kinds}: wrong_type({value})")
        with self.loop_over(items), self.block(f"if {value}:"):
            self._length(value)
            if is_map:
                with self.block(f"for k, {item} in {value}.items():"):
                    self._primitive("string", "k")
                    self.write(items, item)
            else:
                with self.block(f"for {item} in {value}:"):
                    self.write(items, item)
        self.line("put(0)")


def _put_long(out: bytearray, number: int) -> None:
    if not -(1 << 63) <= number < 1 << 63:
        raise OverflowError("a number beyond 64 bits")
    number = (number << 1) ^ (number >> 63)
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)


def _put_int(out: bytearray, number: int) -> None:
    if not -(1 << 31) <= number < 1 << 31:
        raise OverflowError("an int beyond 32 bits")
    _put_long(out, number)


def _wrong_type(value: object) -> NoReturn:
    raise TypeError(f"a {type(value).__name__} does not fit")


def _wrong_fields(names: tuple[str, ...], value: Mapping[str, Any]) -> NoReturn:
    wrong = sorted(set(names) ^ set(value))
    raise ValueError(f"fields are missing or unknown: {', '.join(wrong)}")


_HELPERS: Final[dict[str, Any]] = {
    "put_long": _put_long,
    "put_int": _put_int,
    "float_bytes": struct.Struct("<f").pack,
    "double_bytes": struct.Struct("<d").pack,
    "wrong_fields": _wrong_fields,
    "wrong_type": _wrong_type,
    "LISTS": (list, tuple),
    "MAPS": (dict,),
}
