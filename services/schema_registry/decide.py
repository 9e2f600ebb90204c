"""What the registry answers, and which changes follow. Pure: state in, decision out.

Two schemas are one when their resolution forms are equal, whatever their white space, their
order of keys and their docs; one schema has one id under all subjects. The ids of the packaged
schemas are theirs; any other id is made from the schema itself, so that it can neither clash with
a packaged one nor ever be given to another schema, even after a permanent deletion.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from services.schema_registry import refusals
from services.schema_registry.changes import (
    Change,
    KnownSchema,
    LevelErased,
    LevelSet,
    SchemaErased,
    SchemaPut,
    SubjectHidden,
)
from services.schema_registry.refusals import Refusal
from services.schema_registry.state import Entry, RegistryState
from services.shared.domain.compatibility import Compatibility
from services.shared.domain.errors import InvalidConfiguration

FIRST_DERIVED_ID: Final = 1 << 30
MAX_VERSIONS_OF_A_SUBJECT: Final = 1_000
MAX_SUBJECT_CHARACTERS: Final = 255
LATEST: Final = frozenset({"latest", "-1"})


class Packaged(msgspec.Struct, frozen=True, kw_only=True):
    """A schema that comes with the project."""

    record: str
    schema_id: int
    schema: KnownSchema


class Registered(msgspec.Struct, frozen=True):
    """The schema is a version of the subject; ``changes`` is empty when it was one before."""

    schema_id: int
    version: int
    changes: tuple[Change, ...] = ()


class Deleted(msgspec.Struct, frozen=True):
    """Versions are hidden, or erased."""

    versions: tuple[int, ...]
    changes: tuple[Change, ...]


class LevelChanged(msgspec.Struct, frozen=True):
    """A level is set or erased; ``level`` is the new one, or the one that is gone."""

    level: Compatibility
    changes: tuple[Change, ...]


def register(state: RegistryState, subject: str, schema: KnownSchema) -> Registered | Refusal:
    """Decide whether a subject takes a schema as its newest version."""
    if not is_subject(subject):
        return refusals.invalid_subject()
    known = _entry_of(state, subject, schema)
    if known is not None:
        return Registered(known.schema_id, known.version)
    if len(state.versions(subject)) >= MAX_VERSIONS_OF_A_SUBJECT:
        return refusals.too_many("versions of the subject", MAX_VERSIONS_OF_A_SUBJECT)
    problems = check_all(state, subject, schema)
    if problems:
        return refusals.incompatible(subject, problems)
    put = SchemaPut(
        subject=subject,
        version=_next_version(state, subject),
        schema_id=_id_of(state, schema),
        schema=schema,
    )
    return Registered(put.schema_id, put.version, (put,))


def look_up(
    state: RegistryState, subject: str, schema: KnownSchema, *, with_deleted: bool
) -> Entry | Refusal:
    """Find the newest version of a subject that is a given schema."""
    if not visible(state, subject, with_deleted=with_deleted):
        return refusals.subject_not_found(subject)
    entry = _entry_of(state, subject, schema, with_deleted=with_deleted)
    return entry if entry is not None else refusals.schema_not_found()


def check_all(state: RegistryState, subject: str, schema: KnownSchema) -> list[str]:
    """List why a subject would not take a schema."""
    earlier = [entry.schema for entry in visible(state, subject)]
    return schema.problems(state.level(subject), earlier)


def check_one(
    state: RegistryState, subject: str, schema: KnownSchema, version: str
) -> list[str] | Refusal:
    """List why a schema is not compatible with one version."""
    entry = find_version(state, subject, version)
    if isinstance(entry, Refusal):
        return entry
    return schema.problems(state.level(subject), [entry.schema])


def visible(state: RegistryState, subject: str, *, with_deleted: bool = False) -> list[Entry]:
    """The versions of a subject, oldest first."""
    return [entry for entry in state.versions(subject) if with_deleted or not entry.is_deleted]


def find_version(
    state: RegistryState, subject: str, version: str, *, with_deleted: bool = False
) -> Entry | Refusal:
    """Find a version by its number or by "latest"."""
    is_number = version.isdecimal() and version.isascii() and len(version) <= len("2147483647")
    if version not in LATEST and not (is_number and 1 <= int(version) <= refusals.MAX_VERSION):
        return refusals.invalid_version(version)
    entries = visible(state, subject, with_deleted=with_deleted)
    if not entries:
        return refusals.subject_not_found(subject)
    if version in LATEST:
        return entries[-1]
    found = (entry for entry in entries if entry.version == int(version))
    return next(found, refusals.version_not_found(int(version)))


def delete_subject(state: RegistryState, subject: str, *, permanent: bool) -> Deleted | Refusal:
    """Hide all versions of a subject, or erase them when they are hidden."""
    entries = state.versions(subject)
    shown = visible(state, subject)
    if not entries:
        return refusals.subject_not_found(subject)
    if permanent:
        if shown:
            return refusals.subject_not_deleted(subject)
        erased = [SchemaErased(subject=subject, version=entry.version) for entry in entries]
        return Deleted(tuple(entry.version for entry in entries), tuple(erased))
    if not shown:
        return refusals.subject_already_deleted(subject)
    changes: list[Change] = [SubjectHidden(subject=subject, last_version=entries[-1].version)]
    if state.own_level(subject) is not None:
        changes.append(LevelErased(subject=subject))
    return Deleted(tuple(entry.version for entry in shown), tuple(changes))


def delete_version(
    state: RegistryState, subject: str, version: str, *, permanent: bool
) -> Deleted | Refusal:
    """Hide a version, or erase it when it is hidden."""
    is_latest = version in LATEST
    entry = find_version(state, subject, version, with_deleted=not is_latest)
    if isinstance(entry, Refusal):
        return entry
    if permanent:
        if not entry.is_deleted:
            return refusals.version_not_deleted(subject, entry.version)
        erased = SchemaErased(subject=subject, version=entry.version)
        return Deleted((entry.version,), (erased,))
    if entry.is_deleted:
        return refusals.version_already_deleted(subject, entry.version)
    hidden = SchemaPut(
        subject=subject,
        version=entry.version,
        schema_id=entry.schema_id,
        schema=entry.schema,
        is_deleted=True,
    )
    return Deleted((entry.version,), (hidden,))


def set_level(subject: str, level: str | None) -> LevelChanged | Refusal:
    """Decide on a new level; the subject "" stands for all."""
    if subject and not is_subject(subject):
        return refusals.invalid_subject()
    if level not in list(Compatibility):
        return refusals.invalid_level(list(Compatibility))
    chosen = Compatibility(level)
    return LevelChanged(chosen, (LevelSet(subject=subject, level=chosen),))


def erase_level(state: RegistryState, subject: str) -> LevelChanged | Refusal:
    """Let a subject follow the general level again, or the general one the default."""
    own = state.own_level(subject)
    if own is None and subject:
        return refusals.subject_not_found(subject)
    return LevelChanged(own or state.level(""), (LevelErased(subject=subject),))


def seed(
    state: RegistryState, packaged: Sequence[Packaged], subjects: Mapping[str, str]
) -> list[Change]:
    """List what is missing until every subject has its packaged schemas.

    Args:
        state: What the log says.
        packaged: The packaged schemas, in the order of their versions.
        subjects: Subject -> the record that it is about.

    Raises:
        InvalidConfiguration: The log is another registry's: a packaged id is taken.
    """
    changes: list[Change] = []
    for ours in packaged:
        _check_id_is_ours(state, ours, subjects)
    for subject, record in sorted(subjects.items()):
        known = {entry.schema_id: entry for entry in state.versions(subject)}
        version = _next_version(state, subject)
        for ours in (ours for ours in packaged if ours.record == record):
            entry = known.get(ours.schema_id)
            if entry is not None and entry.schema.text == ours.schema.text:
                continue
            changes.append(
                SchemaPut(
                    subject=subject,
                    version=version if entry is None else entry.version,
                    schema_id=ours.schema_id,
                    schema=ours.schema,
                    is_deleted=entry is not None and entry.is_deleted,
                )
            )
            version += entry is None
    return changes


def is_subject(subject: str) -> bool:
    """Whether a text can name a subject."""
    return 1 <= len(subject) <= MAX_SUBJECT_CHARACTERS and subject.isprintable()


def _check_id_is_ours(state: RegistryState, ours: Packaged, subjects: Mapping[str, str]) -> None:
    for entry in state.with_id(ours.schema_id):
        if entry.schema.form != ours.schema.form and entry.subject not in subjects:
            raise InvalidConfiguration(
                f"id {ours.schema_id} of {ours.record} is that of another schema in the log: "
                f"{entry.subject} version {entry.version}. Give this registry a topic of its own"
            )


def _entry_of(
    state: RegistryState, subject: str, schema: KnownSchema, *, with_deleted: bool = False
) -> Entry | None:
    newest_first = reversed(visible(state, subject, with_deleted=with_deleted))
    return next((entry for entry in newest_first if entry.schema.form == schema.form), None)


def _next_version(state: RegistryState, subject: str) -> int:
    return max((entry.version for entry in state.versions(subject)), default=0) + 1


def _id_of(state: RegistryState, schema: KnownSchema) -> int:
    """Return the schema's id; a new one is a number of 30 bits from its SHA-256."""
    for entry in state.entries():
        if entry.schema.form == schema.form:
            return entry.schema_id
    digest = int.from_bytes(hashlib.sha256(schema.form.encode()).digest())
    schema_id = FIRST_DERIVED_ID + digest % FIRST_DERIVED_ID
    while state.with_id(schema_id):
        schema_id = FIRST_DERIVED_ID + (schema_id + 1) % FIRST_DERIVED_ID
    return schema_id
