"""Schemas as the registry compares them."""

from collections.abc import Sequence
from typing import Any

import msgspec

from services.schema_registry import refusals
from services.schema_registry.refusals import Refusal
from services.shared.codec.avro_parser import schema_from_text
from services.shared.codec.avro_schema import Schema
from services.shared.codec.canonical_form import resolution_form
from services.shared.codec.compatibility import broken_promises
from services.shared.codec.errors import InvalidSchema
from services.shared.domain.compatibility import Compatibility


class ParsedSchema(msgspec.Struct, frozen=True):
    """A ``KnownSchema``: an Avro schema and its text."""

    text: str
    form: str
    schema: Schema

    def problems(self, promise: Compatibility, earlier: Sequence["ParsedSchema"]) -> list[str]:
        """List what keeps it from following others, oldest first, under a promise."""
        try:
            found = broken_promises(
                promise, new=self.schema, earlier=[other.schema for other in earlier]
            )
        except InvalidSchema as error:
            return [str(error)]
        return list(dict.fromkeys(str(incompatibility) for incompatibility in found))


class Proposal(msgspec.Struct, frozen=True):
    """A schema as a client sends it; field names are those on the wire."""

    schema: str
    schemaType: str | None = None  # noqa: N815 - the name on the wire
    references: list[Any] | None = None
    metadata: Any = None
    ruleSet: Any = None  # noqa: N815 - the name on the wire


def schema_from_registered(text: str) -> ParsedSchema:
    """Parse a schema that is registered.

    Raises:
        InvalidSchema: It is not Avro.
    """
    schema = schema_from_text(text)
    return ParsedSchema(text, resolution_form(schema), schema)


def schema_from_proposal(proposal: Proposal) -> ParsedSchema | Refusal:
    """Parse a schema that a client sends."""
    if proposal.schemaType not in {None, "AVRO"}:
        return refusals.invalid_schema(f"type {str(proposal.schemaType)[:64]} is not AVRO")
    for what, part in (
        ("Schema references", proposal.references),
        ("Metadata", proposal.metadata),
        ("Rules", proposal.ruleSet),
    ):
        if part:
            return refusals.unsupported(what)
    try:
        return schema_from_registered(proposal.schema)
    except InvalidSchema as error:
        return refusals.invalid_schema(str(error))
