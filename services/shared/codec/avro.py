"""Records in Confluent's wire format: ``00``, schema id (4 bytes, big-endian), Avro body.

Strict in what it reads: whatever is not exactly a record of a known schema raises
``Undecodable`` with the code of the dead letter, and no input makes it allocate much more than
its own length.
"""

import io
import struct
from collections.abc import Mapping
from functools import cache
from typing import Any, Final, Literal, TypeAlias

import fastavro
import msgspec
from fastavro.read import SchemaResolutionError

from services.shared.codec.avro_reader import Reader, TooManyValues, compile_reader
from services.shared.codec.avro_writer import Writer, compile_writer
from services.shared.codec.canonical_form import resolution_form
from services.shared.codec.errors import Unencodable, UnknownSchema
from services.shared.codec.schemas import PackagedSchema, SchemaStore
from services.shared.domain.errors import PoisonRecord

MAX_RECORD_BYTES: Final = 8 * 1024 * 1024
_ENVELOPE_BYTES: Final = 5
_ENVELOPE: Final = struct.Struct(">bI")

Reason: TypeAlias = Literal[
    "bad_envelope",
    "schema_unknown",
    "schema_subject_mismatch",
    "decode_error",
    "trailing_bytes",
    "oversize",
    "semantic_invalid",
]


class Undecodable(PoisonRecord):
    """The bytes are no record of ours. Not retriable: a dead letter.

    Attributes:
        schema_id: The id in the envelope where it is the id that is unknown, else 0.
    """

    def __init__(self, reason: Reason, detail: str, *, schema_id: int = 0) -> None:
        """Say why: a code for programs, a detail for whoever reads the dead letter."""
        super().__init__(reason, detail)
        self.schema_id = schema_id


class _Readable(msgspec.Struct, frozen=True):
    """How to read the records of one id; ``resolve`` brings an old version up to date."""

    packaged: PackagedSchema
    read: Reader
    resolve: Reader | None = None


class Codec:
    """Reads and writes the records of a schema store.

    Args:
        store: The schemas.
        structs: Full Avro name -> class, for records that are structs instead of dicts (each
            with exactly the fields of its schema; lists are tuples then).
    """

    def __init__(self, store: SchemaStore, *, structs: Mapping[str, type] | None = None) -> None:
        """Compile a reader for every schema and a writer for every newest one.

        Raises:
            InvalidSchema: A schema is one that we refuse (recursive, items without bytes).
        """
        structs = structs or {}
        self._writers: dict[str, tuple[bytes, Writer]] = {}
        self._readers: dict[int, _Readable] = {}
        for record in store.records():
            newest = store.newest(record)
            envelope = _ENVELOPE.pack(0, newest.schema_id)
            self._writers[record] = (envelope, compile_writer(newest.schema, structs))
            self._readers[newest.schema_id] = _Readable(
                newest, compile_reader(newest.schema, structs)
            )
            for old in store.versions(record)[:-1]:
                self._readers[old.schema_id] = _readable_old(old, newest, structs)

    def encode(self, record: str, value: Any) -> bytes:
        """Encode a record in its newest schema, enveloped.

        Args:
            record: Snake-case name of the record.
            value: The record, every field present.

        Raises:
            Unencodable: The value does not fit. Not retriable.
            UnknownSchema: There is no such record. Not retriable.
        """
        try:
            envelope, write = self._writers[record]
        except KeyError:
            raise UnknownSchema(f"no packaged schema describes {record!r}") from None
        out = bytearray(envelope)
        try:
            write(out, value)
        except (TypeError, ValueError, LookupError, AttributeError, OverflowError) as error:
            raise Unencodable(f"{record}: {type(error).__name__}: {error}") from error
        except struct.error as error:
            raise Unencodable(f"{record}: {error}") from error
        return bytes(out)

    def decode(self, value: bytes) -> tuple[str, int, Any]:
        """Decode an enveloped record; old versions come back in the newest one's shape.

        Returns:
            Snake-case name, the version it was written in, and the record.

        Raises:
            Undecodable: The bytes are no record. Not retriable.
        """
        readable = self._readable(value)
        try:
            record, end = readable.read(value, _ENVELOPE_BYTES)
            if end == len(value) and readable.resolve is not None:
                record, end = readable.resolve(value, _ENVELOPE_BYTES)
        except TooManyValues as error:
            raise Undecodable("oversize", str(error)) from error
        except (IndexError, struct.error) as error:
            raise Undecodable("decode_error", "the record is cut off") from error
        except (ValueError, SchemaResolutionError, msgspec.ValidationError) as error:
            raise Undecodable("decode_error", str(error)) from error
        if end > len(value):
            raise Undecodable("decode_error", "the record is cut off")
        if end < len(value):
            raise Undecodable("trailing_bytes", f"{len(value) - end} bytes after the record")
        return readable.packaged.record, readable.packaged.version, record

    def _readable(self, value: bytes) -> _Readable:
        if len(value) > MAX_RECORD_BYTES:
            raise Undecodable("oversize", f"{len(value)} bytes, more than {MAX_RECORD_BYTES}")
        if len(value) < _ENVELOPE_BYTES or value[0] != 0:
            raise Undecodable("bad_envelope", "it does not start with 00 and a schema id")
        schema_id = int.from_bytes(value[1:_ENVELOPE_BYTES], "big")
        readable = self._readers.get(schema_id)
        if readable is None:
            raise Undecodable(
                "schema_unknown", f"schema id {schema_id} is unknown", schema_id=schema_id
            )
        return readable


def _readable_old(
    old: PackagedSchema, newest: PackagedSchema, structs: Mapping[str, type]
) -> _Readable:
    """Read an old version: checked as what it is, then resolved to the newest by fastavro."""
    writer, reader = (
        fastavro.parse_schema(msgspec.json.decode(resolution_form(packaged.schema)))
        for packaged in (old, newest)
    )
    struct_type = structs.get(newest.schema.root_record().name)

    def resolve(body: bytes, start: int, /) -> tuple[Any, int]:
        stream = io.BytesIO(body)
        stream.seek(start)
        record: Any = fastavro.schemaless_reader(stream, writer, reader)
        if struct_type is not None:
            record = msgspec.convert(record, struct_type)
        return record, stream.tell()

    return _Readable(old, compile_reader(old.schema), resolve)


@cache
def packaged_codec() -> Codec:
    """The codec of the packaged schemas, with dicts; made once a process."""
    return Codec(SchemaStore.packaged())


def encode(record: str, fields: Mapping[str, Any]) -> bytes:
    """Encode a packaged record given as a dict; see ``Codec.encode``."""
    return packaged_codec().encode(record, fields)


def decode(value: bytes) -> tuple[str, int, dict[str, Any]]:
    """Decode a packaged record to a dict; see ``Codec.decode``."""
    return packaged_codec().decode(value)
