"""What each endpoint answers, in the words of Confluent's registry."""

from typing import Any, Final, TypeAlias

import msgspec
from starlette.requests import Request

from services.schema_registry import decide, refusals
from services.schema_registry.http_requests import (
    RefusedError,
    body_of,
    flag,
    id_of,
    subject_of,
)
from services.schema_registry.parsed_schema import (
    ParsedSchema,
    Proposal,
    schema_from_proposal,
)
from services.schema_registry.refusals import Refusal
from services.schema_registry.registry import Registry
from services.schema_registry.state import Entry

_MODE: Final = {"mode": "READWRITE"}

Answer: TypeAlias = Any
"""What an endpoint answers: JSON, or a ``Refusal``."""


class LevelRequest(msgspec.Struct, frozen=True):
    """Body of ``PUT /config``; newer clients write the second name."""

    compatibility: str | None = None
    compatibilityLevel: str | None = None  # noqa: N815 - the name on the wire


class Endpoints:
    """One method an endpoint; each returns JSON or a ``Refusal``."""

    def __init__(self, registry: Registry) -> None:
        """Serve a registry."""
        self._registry = registry

    async def root(self, _: Request) -> Answer:
        """Answer the question whether this is a registry."""
        return {}

    async def schema_types(self, _: Request) -> Answer:
        """List the kinds of schemas."""
        return ["AVRO"]

    async def schema_by_id(self, request: Request) -> Answer:
        """Give the text of a schema; with ``subject``, as that subject registered it."""
        entries = self._with_id(request)
        if isinstance(entries, Refusal):
            return entries
        subject = request.query_params.get("subject", "")
        own = [entry for entry in entries if entry.subject == subject]
        return {"schema": (own or entries)[-1].schema.text}

    async def raw_schema_by_id(self, request: Request) -> Answer:
        """Give the schema itself."""
        entries = self._with_id(request)
        return (
            entries
            if isinstance(entries, Refusal)
            else msgspec.Raw(entries[-1].schema.text.encode())
        )

    async def versions_of_id(self, request: Request) -> Answer:
        """List where a schema is registered."""
        entries = self._with_id(request)
        if isinstance(entries, Refusal):
            return entries
        shown = [entry for entry in entries if flag(request, "deleted") or not entry.is_deleted]
        return [{"subject": entry.subject, "version": entry.version} for entry in shown]

    async def subjects_of_id(self, request: Request) -> Answer:
        """List the subjects of a schema."""
        versions = await self.versions_of_id(request)
        if isinstance(versions, Refusal):
            return versions
        return sorted({version["subject"] for version in versions})

    async def subjects(self, request: Request) -> Answer:
        """List the subjects."""
        state = self._registry.state
        prefix = request.query_params.get("subjectPrefix", "")
        only_deleted = flag(request, "deletedOnly")
        with_deleted = flag(request, "deleted") or only_deleted
        return [
            subject
            for subject in state.subjects()
            if subject.startswith(prefix)
            and decide.visible(state, subject, with_deleted=with_deleted)
            and not (only_deleted and decide.visible(state, subject))
        ]

    async def versions(self, request: Request) -> Answer:
        """List the versions of a subject."""
        subject = subject_of(request)
        with_deleted = flag(request, "deleted") or flag(request, "deletedOnly")
        entries = decide.visible(self._registry.state, subject, with_deleted=with_deleted)
        if not entries:
            return refusals.subject_not_found(subject)
        only_deleted = flag(request, "deletedOnly")
        return [entry.version for entry in entries if entry.is_deleted or not only_deleted]

    async def version(self, request: Request) -> Answer:
        """Give a version of a subject."""
        entry = self._version(request)
        return entry if isinstance(entry, Refusal) else _json_of(entry)

    async def raw_version(self, request: Request) -> Answer:
        """Give the schema of a version itself."""
        entry = self._version(request)
        return entry if isinstance(entry, Refusal) else msgspec.Raw(entry.schema.text.encode())

    async def referenced_by(self, request: Request) -> Answer:
        """List the schemas that refer to a version: none, references are not supported."""
        entry = self._version(request)
        return entry if isinstance(entry, Refusal) else []

    async def register(self, request: Request) -> Answer:
        """Register a schema under a subject."""
        subject, schema = subject_of(request), await _schema_of(request)
        registered = await self._registry.write(
            lambda state: decide.register(state, subject, schema)
        )
        if isinstance(registered, Refusal):
            return registered
        return {"id": registered.schema_id, "version": registered.version}

    async def look_up(self, request: Request) -> Answer:
        """Find the version of a subject that is a schema."""
        schema = await _schema_of(request)
        entry = decide.look_up(
            self._registry.state,
            subject_of(request),
            schema,
            with_deleted=flag(request, "deleted"),
        )
        return entry if isinstance(entry, Refusal) else _json_of(entry)

    async def delete_subject(self, request: Request) -> Answer:
        """Hide or erase a subject."""
        subject, permanent = subject_of(request), flag(request, "permanent")
        deleted = await self._registry.write(
            lambda state: decide.delete_subject(state, subject, permanent=permanent)
        )
        return deleted if isinstance(deleted, Refusal) else deleted.versions

    async def delete_version(self, request: Request) -> Answer:
        """Hide or erase a version."""
        subject, permanent = subject_of(request), flag(request, "permanent")
        version = request.path_params["version"]
        deleted = await self._registry.write(
            lambda state: decide.delete_version(state, subject, version, permanent=permanent)
        )
        return deleted if isinstance(deleted, Refusal) else deleted.versions[0]

    async def check_all(self, request: Request) -> Answer:
        """Say whether a subject would take a schema."""
        schema = await _schema_of(request)
        problems = decide.check_all(self._registry.state, subject_of(request), schema)
        return _verdict(request, problems)

    async def check_one(self, request: Request) -> Answer:
        """Say whether a schema is compatible with one version."""
        schema = await _schema_of(request)
        version = request.path_params["version"]
        state, subject = self._registry.state, subject_of(request)
        problems = decide.check_one(state, subject, schema, version)
        return problems if isinstance(problems, Refusal) else _verdict(request, problems)

    async def level(self, request: Request) -> Answer:
        """Give the level of a subject, or the general one."""
        state, subject = self._registry.state, subject_of(request)
        own = state.own_level(subject)
        if subject and own is None and not flag(request, "defaultToGlobal"):
            return refusals.no_level(subject)
        return {"compatibilityLevel": state.level(subject)}

    async def set_level(self, request: Request) -> Answer:
        """Set the level of a subject, or the general one."""
        subject = subject_of(request)
        wanted = await body_of(request, LevelRequest)
        level = wanted.compatibility or wanted.compatibilityLevel
        changed = await self._registry.write(lambda _: decide.set_level(subject, level))
        return changed if isinstance(changed, Refusal) else {"compatibility": changed.level}

    async def erase_level(self, request: Request) -> Answer:
        """Erase the level of a subject, or the general one."""
        subject = subject_of(request)
        changed = await self._registry.write(lambda state: decide.erase_level(state, subject))
        return changed if isinstance(changed, Refusal) else {"compatibilityLevel": changed.level}

    async def mode(self, request: Request) -> Answer:
        """Give the mode: it cannot be changed here."""
        subject = subject_of(request)
        if subject and not flag(request, "defaultToGlobal"):
            return refusals.no_mode(subject)
        return _MODE

    def _with_id(self, request: Request) -> list[Entry] | Refusal:
        schema_id = id_of(request)
        return self._registry.state.with_id(schema_id) or refusals.schema_id_not_found(schema_id)

    def _version(self, request: Request) -> Entry | Refusal:
        return decide.find_version(
            self._registry.state,
            subject_of(request),
            request.path_params["version"],
            with_deleted=flag(request, "deleted"),
        )


async def _schema_of(request: Request) -> ParsedSchema:
    schema = schema_from_proposal(await body_of(request, Proposal))
    if isinstance(schema, Refusal):
        raise RefusedError(schema)
    return schema


def _verdict(request: Request, problems: list[str]) -> Answer:
    verdict: dict[str, Any] = {"is_compatible": not problems}
    return verdict | ({"messages": problems} if flag(request, "verbose") else {})


def _json_of(entry: Entry) -> dict[str, Any]:
    return {
        "subject": entry.subject,
        "version": entry.version,
        "id": entry.schema_id,
        "schema": entry.schema.text,
    }
