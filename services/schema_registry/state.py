"""What the registry knows: a fold over the changes in its log. Pure: no I/O, no clock."""

from collections.abc import Iterator

import msgspec

from services.schema_registry.changes import (
    Change,
    KnownSchema,
    LevelErased,
    LevelSet,
    SchemaErased,
    SchemaPut,
    SubjectHidden,
)
from services.shared.domain.compatibility import Compatibility

DEFAULT_LEVEL = Compatibility.BACKWARD


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One version of one subject.

    Attributes:
        subject: The subject, ``<topic>-value`` for the values of a topic.
        version: From 1.
        schema_id: The id on the wire.
        schema: The schema, and its text as it was registered.
        is_deleted: Hidden, but still served by its id.
    """

    subject: str
    version: int
    schema_id: int
    schema: KnownSchema
    is_deleted: bool = False


class RegistryState:
    """Subjects, their versions and levels."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._subjects: dict[str, dict[int, Entry]] = {}
        self._by_id: dict[int, dict[tuple[str, int], Entry]] = {}
        self._levels: dict[str, Compatibility] = {}

    def apply(self, change: Change) -> None:
        """Take in a change."""
        match change:
            case SchemaPut():
                self._put(change)
            case SchemaErased(subject=subject, version=version):
                self._erase(subject, version)
            case SubjectHidden(subject=subject, last_version=last):
                for entry in self.versions(subject):
                    if entry.version <= last:
                        self._keep(msgspec.structs.replace(entry, is_deleted=True))
            case LevelSet(subject=subject, level=level):
                self._levels[subject] = level
            case LevelErased(subject=subject):
                self._levels.pop(subject, None)

    def subjects(self) -> list[str]:
        """All subjects, hidden ones too, sorted."""
        return sorted(self._subjects)

    def versions(self, subject: str) -> list[Entry]:
        """All versions of a subject, hidden ones too, oldest first."""
        versions = self._subjects.get(subject, {})
        return [versions[version] for version in sorted(versions)]

    def with_id(self, schema_id: int) -> list[Entry]:
        """All versions of all subjects that have an id."""
        return list(self._by_id.get(schema_id, {}).values())

    def entries(self) -> Iterator[Entry]:
        """All versions of all subjects."""
        for subject in self.subjects():
            yield from self.versions(subject)

    def level(self, subject: str) -> Compatibility:
        """The level that holds for a subject; "" = the general one."""
        return self.own_level(subject) or self.own_level("") or DEFAULT_LEVEL

    def own_level(self, subject: str) -> Compatibility | None:
        """The level set for a subject itself; "" = the general one."""
        return self._levels.get(subject)

    def _put(self, put: SchemaPut) -> None:
        self._erase(put.subject, put.version)
        self._keep(
            Entry(
                subject=put.subject,
                version=put.version,
                schema_id=put.schema_id,
                schema=put.schema,
                is_deleted=put.is_deleted,
            )
        )

    def _keep(self, entry: Entry) -> None:
        self._subjects.setdefault(entry.subject, {})[entry.version] = entry
        self._by_id.setdefault(entry.schema_id, {})[entry.subject, entry.version] = entry

    def _erase(self, subject: str, version: int) -> None:
        entry = self._subjects.get(subject, {}).pop(version, None)
        if entry is not None:
            del self._by_id[entry.schema_id][subject, version]
            if not self._by_id[entry.schema_id]:
                del self._by_id[entry.schema_id]
            if not self._subjects[subject]:
                del self._subjects[subject]
