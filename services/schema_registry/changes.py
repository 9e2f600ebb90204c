"""What can happen to a registry. Pure."""

from collections.abc import Sequence
from typing import Protocol, Self, TypeAlias

import msgspec

from services.shared.domain.compatibility import Compatibility


class KnownSchema(Protocol):
    """A schema that was parsed."""

    @property
    def text(self) -> str:
        """As it was written."""
        ...

    @property
    def form(self) -> str:
        """Its canonical form: schemas of one form are one schema."""
        ...

    def problems(self, promise: Compatibility, earlier: Sequence[Self]) -> list[str]:
        """List what keeps it from following others, oldest first, under a promise."""
        ...


class SchemaPut(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a subject is there, or hidden (``is_deleted``)."""

    subject: str
    version: int
    schema_id: int
    schema: KnownSchema
    is_deleted: bool = False


class SchemaErased(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a subject is gone for good."""

    subject: str
    version: int


class SubjectHidden(msgspec.Struct, frozen=True, kw_only=True):
    """All versions of a subject up to one are hidden."""

    subject: str
    last_version: int


class LevelSet(msgspec.Struct, frozen=True, kw_only=True):
    """What a subject's new versions owe to the earlier ones; the subject "" stands for all."""

    subject: str
    level: Compatibility


class LevelErased(msgspec.Struct, frozen=True, kw_only=True):
    """A subject follows the general level again."""

    subject: str


Change: TypeAlias = SchemaPut | SchemaErased | SubjectHidden | LevelSet | LevelErased
