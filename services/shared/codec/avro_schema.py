"""An Avro schema as a value, with every name written in full. Pure: no I/O."""

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from services.shared.codec.errors import InvalidSchema

PRIMITIVES: Final = frozenset(
    {"null", "boolean", "int", "long", "float", "double", "bytes", "string"}
)


class Primitive(msgspec.Struct, frozen=True):
    """A primitive type; ``logical`` is what a logical type adds to it, as JSON."""

    name: str
    logical: str = ""


class Array(msgspec.Struct, frozen=True):
    """A list of items of one type."""

    items: "Type"


class Map(msgspec.Struct, frozen=True):
    """Strings to values of one type."""

    values: "Type"


class Union(msgspec.Struct, frozen=True):
    """One of several types."""

    branches: "tuple[Type, ...]"


class Named(msgspec.Struct, frozen=True):
    """A reference to a record, enum or fixed by its full name."""

    name: str


class Field(msgspec.Struct, frozen=True):
    """A field of a record; ``default`` is JSON, and unset is not null."""

    name: str
    type: "Type"
    default: Any | UnsetType = UNSET
    aliases: tuple[str, ...] = ()
    doc: str = ""


class Record(msgspec.Struct, frozen=True):
    """A record under its full name."""

    name: str
    fields: tuple[Field, ...]
    aliases: tuple[str, ...] = ()
    doc: str = ""


class Enum(msgspec.Struct, frozen=True):
    """An enumeration under its full name."""

    name: str
    symbols: tuple[str, ...]
    default: str | None = None
    aliases: tuple[str, ...] = ()
    doc: str = ""


class Fixed(msgspec.Struct, frozen=True):
    """A number of bytes under a full name."""

    name: str
    size: int
    aliases: tuple[str, ...] = ()
    doc: str = ""
    logical: str = ""


Definition: TypeAlias = Record | Enum | Fixed
Type: TypeAlias = Primitive | Array | Map | Union | Named
Concrete: TypeAlias = Primitive | Array | Map | Union | Record | Enum | Fixed


class Schema(msgspec.Struct, frozen=True):
    """A whole schema: its root, and its named types in the order of their definition."""

    root: Type
    definitions: Mapping[str, Definition]

    def concrete(self, type_: Type) -> Concrete:
        """Replace a name by what it names."""
        return self.definitions[type_.name] if isinstance(type_, Named) else type_

    def root_record(self) -> Record:
        """The record that the schema describes.

        Raises:
            InvalidSchema: The root is another type.
        """
        root = self.concrete(self.root)
        if not isinstance(root, Record):
            raise InvalidSchema("the root of the schema is not a record")
        return root


def unqualified(full_name: str) -> str:
    """Return the last part of a full name."""
    return full_name.rpartition(".")[2]
