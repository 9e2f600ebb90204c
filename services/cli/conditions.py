"""``--where FIELD=TEXT``: which records of a topic are meant."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from services.cli.errors import CommandError

if TYPE_CHECKING:
    from services.shared.codec.avro_schema import Schema, Type

Names = dict[str, Any] | None
"""Fields by name, each with those below it; None = there may be any."""

_PLAIN = "topic partition offset timestamp_ms key record undecodable bytes"
_AROUND: dict[str, Names] = {**{name: {} for name in _PLAIN.split()}, "headers": None}
"""What is told of a record beside its value."""


class Condition(msgspec.Struct, frozen=True):
    """A field of a record, by the names on the way to it, and what it has to be."""

    path: tuple[str, ...]
    wanted: str

    def holds(self, document: dict[str, Any]) -> bool:
        """Whether a record is meant; case counts for nothing."""
        for start in (document.get("value"), document):
            found: Any = start
            for name in self.path:
                found = found.get(name) if isinstance(found, dict) else None
            if found is not None:
                return str(found).lower() == self.wanted.lower()
        return False


def condition(text: str, topic: str) -> Condition:
    """Read a condition on the records of a topic.

    Raises:
        CommandError: It is none, or no record of the topic has such a field.
    """
    field, equals, wanted = text.partition("=")
    if not equals:
        raise CommandError(f"--where {text}: write FIELD=TEXT, e.g. outcome=failed.")
    path = tuple(field.split("."))
    value = _names_of(topic)
    around = {**_AROUND, "value": value}
    if _has(value, path) or _has(around, path):
        return Condition(path, wanted)
    below, names = _nearest(around if path[0] in around else value, path)
    where = f"'{'.'.join(below)}' of {topic}" if below else topic
    raise CommandError(
        f"--where {text}: {where} has no field '{path[len(below)]}'. "
        + (f"It has {', '.join(names)}." if names else "It has none.")
    )


def _names_of(topic: str) -> Names:
    """The fields of the records of a topic, or of those that became dead letters there."""
    from services.shared.codec.schemas import SchemaStore  # noqa: PLC0415
    from services.shared.codec.topics import packaged_topics  # noqa: PLC0415

    for name, spec in packaged_topics().items():
        if topic in (name, spec.dlq):
            versions = SchemaStore.packaged().versions(spec.record)
            return _merged(_names(it.schema, it.schema.root) for it in versions)
    return None


def _names(schema: "Schema", type_: "Type") -> Names:
    """The fields of a type; of bytes, which may be JSON, and of maps nothing is known."""
    from services.shared.codec.avro_schema import Map, Primitive, Record, Union  # noqa: PLC0415

    match schema.concrete(type_):
        case Record(fields=fields):
            return {field.name: _names(schema, field.type) for field in fields}
        case Union(branches=branches):
            return _merged(_names(schema, branch) for branch in branches)
        case Map() | Primitive(name="bytes"):
            return None
        case _:
            return {}


def _merged(several: Iterable[Names]) -> Names:
    merged: dict[str, Any] = {}
    for names in several:
        if names is None:
            return None
        for name, below in names.items():
            merged[name] = _merged((merged[name], below)) if name in merged else below
    return merged


def _has(names: Names, path: tuple[str, ...]) -> bool:
    below, _ = _nearest(names, path)
    return below == path


def _nearest(names: Names, path: tuple[str, ...]) -> tuple[tuple[str, ...], Iterable[str]]:
    """How much of a path there is, and what is there instead of the rest."""
    for depth, name in enumerate(path):
        if names is None:
            break
        if name not in names:
            return path[:depth], names
        names = names[name]
    return path, ()
