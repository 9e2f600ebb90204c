"""The registry's changes as the JSON that Confluent's registry writes for them. Pure."""

from typing import Any, Final

import msgspec

from services.schema_registry.changes import (
    Change,
    LevelErased,
    LevelSet,
    SchemaErased,
    SchemaPut,
    SubjectHidden,
)
from services.schema_registry.parsed_schema import schema_from_registered
from services.shared.domain.compatibility import Compatibility
from services.shared.ports.schema_log import LoggedRecord


class UnreadableRecord(ValueError):
    """A record of the log that is none of ours; it is passed over. Not retriable."""


class _Key(msgspec.Struct, omit_defaults=True):
    """Field order and presence are Confluent's: compaction compares keys byte by byte."""

    keytype: str
    subject: str | msgspec.UnsetType | None = msgspec.UNSET
    version: int | msgspec.UnsetType = msgspec.UNSET
    magic: int | msgspec.UnsetType = msgspec.UNSET


class _SchemaValue(msgspec.Struct):
    subject: str
    version: int
    id: int
    schema: str
    deleted: bool = False
    schemaType: str = "AVRO"  # noqa: N815 - the name on the wire
    references: list[Any] | None = None


class _LevelValue(msgspec.Struct):
    compatibilityLevel: Compatibility  # noqa: N815 - the name on the wire


class _HiddenValue(msgspec.Struct):
    subject: str
    version: int


_IGNORED: Final = frozenset({"NOOP", "MODE", "CONTEXT", "CLEAR_SUBJECT", "ASSOC"})


def change_from_record(record: LoggedRecord) -> Change | None:
    """Read a record; None when its kind does not concern us.

    Raises:
        UnreadableRecord: It is no record of a registry, or of a schema that is not Avro.
        InvalidSchema: It is a schema that we do not take.
    """
    try:
        key = msgspec.json.decode(record.key, type=_Key)
        match key.keytype:
            case "SCHEMA":
                return _schema_change(key, record.value)
            case "DELETE_SUBJECT" if record.value is not None:
                hidden = msgspec.json.decode(record.value, type=_HiddenValue)
                return SubjectHidden(subject=hidden.subject, last_version=hidden.version)
            case "CONFIG":
                return _level_change(key, record.value)
            case _:
                pass
    except msgspec.DecodeError as error:
        raise UnreadableRecord(str(error)) from error
    if key.keytype in _IGNORED or record.value is None:
        return None
    raise UnreadableRecord(f"unknown kind {key.keytype}")


def record_from_change(change: Change) -> LoggedRecord:
    """Write a change as Confluent's registry does."""
    match change:
        case SchemaPut(subject=subject, version=version):
            value = _SchemaValue(
                subject=subject,
                version=version,
                id=change.schema_id,
                schema=change.schema.text,
                deleted=change.is_deleted,
            )
            document = msgspec.to_builtins(value)
            del document["schemaType"], document["references"]
            return _record(_Key("SCHEMA", subject, version, 1), document)
        case SchemaErased(subject=subject, version=version):
            return _record(_Key("SCHEMA", subject, version, 1), None)
        case SubjectHidden(subject=subject, last_version=version):
            key = _Key("DELETE_SUBJECT", subject, magic=0)
            return _record(key, {"subject": subject, "version": version})
        case LevelSet(subject=subject, level=level):
            key = _Key("CONFIG", subject or None, magic=0)
            return _record(key, {"compatibilityLevel": level.value})
        case LevelErased(subject=subject):
            return _record(_Key("CONFIG", subject or None, magic=0), None)


def _record(key: _Key, value: dict[str, Any] | None) -> LoggedRecord:
    return LoggedRecord(
        msgspec.json.encode(key), None if value is None else msgspec.json.encode(value)
    )


def _schema_change(key: _Key, value: bytes | None) -> Change:
    if not isinstance(key.subject, str) or not isinstance(key.version, int):
        raise UnreadableRecord("a schema without subject or version")
    if value is None:
        return SchemaErased(subject=key.subject, version=key.version)
    schema = msgspec.json.decode(value, type=_SchemaValue)
    if schema.schemaType != "AVRO" or schema.references:
        raise UnreadableRecord(f"{schema.subject} is not Avro, or refers to other schemas")
    return SchemaPut(
        subject=schema.subject,
        version=schema.version,
        schema_id=schema.id,
        schema=schema_from_registered(schema.schema),
        is_deleted=schema.deleted,
    )


def _level_change(key: _Key, value: bytes | None) -> Change:
    subject = key.subject if isinstance(key.subject, str) else ""
    if value is None:
        return LevelErased(subject=subject)
    level = msgspec.json.decode(value, type=_LevelValue).compatibilityLevel
    return LevelSet(subject=subject, level=level)
