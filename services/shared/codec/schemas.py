"""The packaged schemas: one ``avro/<record>.v<n>.avsc`` a record and version.

``avro/ids.json`` gives each file its id on the wire. Ids are never changed, reused or removed:
records of 400 days ago carry them.
"""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

from services.shared.codec.avro_parser import schema_from_text
from services.shared.codec.avro_schema import Schema
from services.shared.codec.canonical_form import fingerprint
from services.shared.codec.errors import InvalidSchema, UnknownSchema

SCHEMAS_FOLDER: Final = Path(__file__).resolve().parents[3] / "avro"
_FILE: Final = re.compile(r"([a-z][a-z0-9_]*)\.v([1-9][0-9]*)")


class PackagedSchema(msgspec.Struct, frozen=True, kw_only=True):
    """One version of one record.

    Attributes:
        record: Snake-case name of the record.
        version: From 1.
        schema_id: Its id on the wire.
        text: The file's text.
        schema: The text, parsed.
        fingerprint: SHA-256 of its Parsing Canonical Form, in hexadecimal.
    """

    record: str
    version: int
    schema_id: int
    text: str
    schema: Schema
    fingerprint: str


class SchemaStore:
    """The schemas of one folder, by id and by record."""

    def __init__(self, schemas: Iterable[PackagedSchema]) -> None:
        """Index the schemas.

        Raises:
            InvalidSchema: Two of them have one id, or one record and version.
        """
        self._by_id: dict[int, PackagedSchema] = {}
        self._versions: dict[str, list[PackagedSchema]] = {}
        for schema in sorted(schemas, key=lambda schema: (schema.record, schema.version)):
            if schema.schema_id in self._by_id:
                raise InvalidSchema(f"id {schema.schema_id} is given to two schemas")
            self._by_id[schema.schema_id] = schema
            self._versions.setdefault(schema.record, []).append(schema)

    @staticmethod
    @cache
    def packaged() -> "SchemaStore":
        """The schemas of this checkout; read once a process."""
        return SchemaStore(read_folder(SCHEMAS_FOLDER))

    def by_id(self, schema_id: int) -> PackagedSchema:
        """Find a schema by its id on the wire.

        Raises:
            UnknownSchema: There is none.
        """
        try:
            return self._by_id[schema_id]
        except KeyError:
            raise UnknownSchema(f"no packaged schema has id {schema_id}") from None

    def versions(self, record: str) -> list[PackagedSchema]:
        """All versions of a record, oldest first.

        Raises:
            UnknownSchema: There is no such record.
        """
        try:
            return list(self._versions[record])
        except KeyError:
            raise UnknownSchema(f"no packaged schema describes {record!r}") from None

    def newest(self, record: str) -> PackagedSchema:
        """Return the version that the project writes.

        Raises:
            UnknownSchema: There is no such record.
        """
        return self.versions(record)[-1]

    def id_of(self, record: str) -> int:
        """Return the id of a record's newest version.

        Raises:
            UnknownSchema: There is no such record.
        """
        return self.newest(record).schema_id

    def records(self) -> list[str]:
        """Snake-case names of all records."""
        return list(self._versions)

    def all(self) -> list[PackagedSchema]:
        """All schemas in the order of their ids."""
        return [self._by_id[schema_id] for schema_id in sorted(self._by_id)]


def read_folder(folder: Path) -> list[PackagedSchema]:
    """Read every schema of a folder.

    Raises:
        InvalidSchema: A file is no schema, has no id, or an id has no file.
    """
    ids = read_ids(folder / "ids.json")
    files = {path.stem: path for path in sorted(folder.glob("*.avsc"))}
    if files.keys() != ids.keys():
        unmatched = ", ".join(sorted(files.keys() ^ ids.keys()))
        raise InvalidSchema(f"files and ids.json of {folder.name}/ differ in: {unmatched}")
    return [_read_file(path, ids[stem]) for stem, path in files.items()]


def read_ids(path: Path) -> dict[str, int]:
    """Read ``ids.json``: file name without suffix -> id on the wire.

    Raises:
        InvalidSchema: It is not an object of numbers.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, int])
    except msgspec.DecodeError as error:
        raise InvalidSchema(f"{path.name}: {error}") from error


def _read_file(path: Path, schema_id: int) -> PackagedSchema:
    named = _FILE.fullmatch(path.stem)
    if named is None:
        raise InvalidSchema(f"{path.name} is not named <record>.v<n>.avsc")
    text = path.read_text(encoding="utf-8")
    try:
        schema = schema_from_text(text)
    except InvalidSchema as error:
        raise InvalidSchema(f"{path.name}: {error}") from error
    return PackagedSchema(
        record=named[1],
        version=int(named[2]),
        schema_id=schema_id,
        text=text,
        schema=schema,
        fingerprint=fingerprint(schema),
    )
