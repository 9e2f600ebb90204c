"""Golden records: what stands on topics, byte for byte, as files in ``avro/examples``.

A file ``<record>.v<n>.<case>.json`` holds the bytes of one record (``wire``, in base64) and what
they mean (``value``; byte fields as text). ``python -m tests.support.golden_records`` writes the
files that are missing; none is ever written again, for logs hold such bytes.
"""

import base64
import json
from pathlib import Path
from typing import Any

import msgspec

from services.shared.codec.records import RECORDS, encode_record
from services.shared.codec.schemas import SCHEMAS_FOLDER, SchemaStore
from services.shared.domain.events import Event

EXAMPLES_FOLDER = SCHEMAS_FOLDER / "examples"


class GoldenRecord(msgspec.Struct, frozen=True):
    """One file.

    Attributes:
        record: Snake-case name of the record.
        version: Version of the schema that it was written in.
        case: What it is an example of.
        value: What it means.
        wire: Its bytes.
    """

    record: str
    version: int
    case: str
    value: dict[str, Any]
    wire: bytes

    def __str__(self) -> str:
        """Its name, for tests."""
        return f"{self.record}.v{self.version}.{self.case}"

    @property
    def event_type(self) -> type[Event]:
        """Its struct."""
        return RECORDS[self.record]


def golden_records(folder: Path = EXAMPLES_FOLDER) -> list[GoldenRecord]:
    """All files of a folder."""
    return [_read(path) for path in sorted(folder.glob("*.json"))]


def meaning_of(event: Event) -> dict[str, Any]:
    """An event as it stands in a file."""
    plain: dict[str, Any] = json.loads(json.dumps(_plain(msgspec.structs.asdict(event))))
    return plain


def problems(goldens: list[GoldenRecord], store: SchemaStore, *, least: int = 2) -> list[str]:
    """List records without enough examples, and examples without a schema."""
    found = []
    counts = {
        (record, schema.version): 0
        for record in store.records()
        for schema in store.versions(record)
    }
    for golden in goldens:
        if (golden.record, golden.version) not in counts:
            found.append(f"{golden}: there is no such schema")
        else:
            counts[golden.record, golden.version] += 1
    found += [
        f"{record}.v{version}: {count} examples, fewer than {least}"
        for (record, version), count in counts.items()
        if count < least
    ]
    return found


def write_missing(events: dict[str, Event], folder: Path = EXAMPLES_FOLDER) -> list[Path]:
    """Write the files of these events that are not there; return them."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, event in events.items():
        path = folder / f"{name}.json"
        if not path.exists():
            wire = base64.b64encode(encode_record(event)).decode()
            document = {"value": meaning_of(event), "wire": wire}
            path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
            written.append(path)
    return written


def _read(path: Path) -> GoldenRecord:
    record, version, case = path.stem.split(".")
    document = json.loads(path.read_text(encoding="utf-8"))
    return GoldenRecord(
        record=record,
        version=int(version.removeprefix("v")),
        case=case,
        value=document["value"],
        wire=base64.b64decode(document["wire"], validate=True),
    )


def _plain(value: Any) -> Any:
    match value:
        case bytes():
            return value.decode()
        case msgspec.Struct():
            return _plain(msgspec.structs.asdict(value))
        case dict():
            return {name: _plain(part) for name, part in value.items()}
        case list() | tuple():
            return [_plain(part) for part in value]
        case _:
            return value


if __name__ == "__main__":
    from tests.support.golden_events import GOLDEN

    for path in write_missing(GOLDEN):
        print(path)
