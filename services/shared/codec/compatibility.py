"""Whether data of one schema can be read with another: Avro's schema resolution, statically.

``incompatibilities(reader, writer)`` lists every place where some record of the writer's schema
could not be read. The rules are those of the chapter "Schema Resolution" of the Avro
specification. Pure: no I/O.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
from msgspec import UNSET

from services.shared.codec.avro_schema import (
    Array,
    Concrete,
    Enum,
    Field,
    Fixed,
    Map,
    Primitive,
    Record,
    Schema,
    Type,
    Union,
    unqualified,
)
from services.shared.codec.errors import InvalidSchema
from services.shared.domain.compatibility import Compatibility

_PROMOTIONS: Final = {
    "int": {"long", "float", "double"},
    "long": {"float", "double"},
    "float": {"double"},
    "string": {"bytes"},
    "bytes": {"string"},
}
_MAX_STEPS: Final = 50_000
_MAX_NESTED_RECORDS: Final = 64


class Incompatibility(msgspec.Struct, frozen=True):
    """One place where reading can fail."""

    path: str
    reason: str

    def __str__(self) -> str:
        """Return ``path: reason``."""
        return f"{self.path}: {self.reason}"


def broken_promises(
    kind: Compatibility, *, new: Schema, earlier: Sequence[Schema]
) -> list[Incompatibility]:
    """List what keeps a new version from following the earlier ones.

    Args:
        kind: The promise.
        new: The proposed version.
        earlier: The existing versions, oldest first.
    """
    compared = earlier if kind.endswith("TRANSITIVE") else earlier[-1:]
    found: list[Incompatibility] = []
    for old in compared:
        if kind.startswith(("BACKWARD", "FULL")):
            found += incompatibilities(new, old)
        if kind.startswith(("FORWARD", "FULL")):
            found += incompatibilities(old, new)
    return found


def incompatibilities(reader: Schema, writer: Schema) -> list[Incompatibility]:
    """List the places where a record of ``writer`` could not be read with ``reader``.

    Raises:
        InvalidSchema: The comparison would not end in reasonable time.
    """
    comparison = _Comparison(reader, writer)
    return list(comparison.compare(reader.root, writer.root, _root_path(writer)))


def _root_path(schema: Schema) -> str:
    root = schema.concrete(schema.root)
    return unqualified(root.name) if isinstance(root, Record) else "(root)"


class _Comparison:
    """One comparison; pairs of named types under way are assumed to match (recursion ends)."""

    def __init__(self, reader: Schema, writer: Schema) -> None:
        self._reader = reader
        self._writer = writer
        self._under_way: set[tuple[str, str]] = set()
        self._steps = 0

    def compare(self, reader_type: Type, writer_type: Type, path: str) -> Iterator[Incompatibility]:
        self._count_step()
        reader = self._reader.concrete(reader_type)
        writer = self._writer.concrete(writer_type)
        match reader, writer:
            case _, Union(branches=branches):
                for branch in branches:
                    yield from self.compare(reader_type, branch, path)
            case Union(), _:
                yield from self._compare_branches(reader, writer_type, path)
            case Array(), Array():
                yield from self.compare(reader.items, writer.items, f"{path}[]")
            case Map(), Map():
                yield from self.compare(reader.values, writer.values, f"{path}{{}}")
            case Primitive(), Primitive() if _reads(reader.name, writer.name):
                return
            case Record() | Enum() | Fixed(), Record() | Enum() | Fixed() if type(reader) is type(
                writer
            ):
                yield from self._compare_named(reader, writer, path)
            case _:
                yield Incompatibility(path, f"{_words(reader)} cannot read {_words(writer)}")

    def _count_step(self) -> None:
        """Bound the work: a small schema can name one record in exponentially many places."""
        self._steps += 1
        if self._steps > _MAX_STEPS or len(self._under_way) > _MAX_NESTED_RECORDS:
            raise InvalidSchema("the schemas are too entangled to be compared")

    def _compare_branches(
        self, reader: Union, writer_type: Type, path: str
    ) -> Iterator[Incompatibility]:
        writer = self._writer.concrete(writer_type)
        found = []
        for branch in reader.branches:
            problems = list(self.compare(branch, writer_type, path))
            if not problems:
                return
            if _words(self._reader.concrete(branch)) == _words(writer):
                found = problems  # the branch that was meant: its details help
        yield from found or [
            Incompatibility(path, f"no branch of the union reads {_words(writer)}")
        ]

    def _compare_named(
        self, reader: Record | Enum | Fixed, writer: Record | Enum | Fixed, path: str
    ) -> Iterator[Incompatibility]:
        if unqualified(reader.name) != unqualified(writer.name) and (
            writer.name not in reader.aliases
        ):
            yield Incompatibility(path, f"{reader.name} is neither {writer.name} nor its alias")
            return
        match reader, writer:
            case Record(), Record():
                pair = (reader.name, writer.name)
                if pair not in self._under_way:
                    self._under_way.add(pair)
                    yield from self._compare_fields(reader, writer, path)
                    self._under_way.remove(pair)
            case Enum(), Enum():
                unknown = [s for s in writer.symbols if s not in reader.symbols]
                if unknown and reader.default is None:
                    yield Incompatibility(
                        path, f"symbols {', '.join(unknown)} are unknown and there is no default"
                    )
            case Fixed(), Fixed() if reader.size != writer.size:
                yield Incompatibility(
                    path, f"fixed of {reader.size} bytes cannot read {writer.size} bytes"
                )

    def _compare_fields(
        self, reader: Record, writer: Record, path: str
    ) -> Iterator[Incompatibility]:
        written = {field.name: field for field in writer.fields}
        for field in reader.fields:
            source = _source(field, written)
            if source is not None:
                yield from self.compare(field.type, source.type, f"{path}.{field.name}")
            elif field.default is UNSET:
                yield Incompatibility(
                    f"{path}.{field.name}", "the writer lacks the field and it has no default"
                )


def _reads(reader: str, writer: str) -> bool:
    return reader == writer or reader in _PROMOTIONS.get(writer, ())


def _source(field: Field, written: dict[str, Field]) -> Field | None:
    """Find the writer's field that a reader's field takes its value from."""
    names = (field.name, *field.aliases)
    return next((written[name] for name in names if name in written), None)


def _words(type_: Concrete) -> str:
    """Name a type in a message."""
    match type_:
        case Primitive(name=name):
            return name
        case Record(name=name) | Enum(name=name) | Fixed(name=name):
            return f"{type(type_).__name__.lower()} {unqualified(name)}"
        case _:
            return type(type_).__name__.lower()
