"""Errors of the codec that are nobody's bytes: our own schemas, our own values.

(Bytes that are no record raise ``services.shared.codec.avro.Undecodable``.)
"""

from services.shared.domain.errors import MillraceError


class InvalidSchema(MillraceError):
    """The text is no Avro schema, or one that we refuse. Not retriable."""


class UnknownSchema(MillraceError):
    """The store holds no such record, version or id. Not retriable."""


class Unencodable(MillraceError):
    """The value does not fit the record's schema: a mistake of the caller. Not retriable."""
