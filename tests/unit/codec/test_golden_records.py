"""The bytes that logs hold stay readable, and mean what they meant."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from services.shared.codec.avro import Codec
from services.shared.codec.avro_parser import schema_from_text
from services.shared.codec.canonical_form import fingerprint
from services.shared.codec.records import RECORDS, decode_record, encode_record
from services.shared.codec.schemas import PackagedSchema, SchemaStore
from services.shared.domain.errors import PoisonRecord
from tests.support.golden_events import GOLDEN
from tests.support.golden_records import (
    GoldenRecord,
    golden_records,
    meaning_of,
    problems,
    write_missing,
)

STORE = SchemaStore.packaged()
GOLDENS = golden_records()


@pytest.mark.parametrize("golden", GOLDENS, ids=str)
def test_a_golden_record_means_what_it_meant(golden: GoldenRecord) -> None:
    """Its bytes decode to its value; fields that came later have their defaults."""
    event = decode_record(golden.wire, golden.event_type)
    meaning = meaning_of(event)
    if golden.version == STORE.newest(golden.record).version:
        assert meaning == golden.value
    else:
        assert _holds(meaning, golden.value)


@pytest.mark.parametrize("golden", GOLDENS, ids=str)
def test_a_golden_record_is_written_as_it_was(golden: GoldenRecord) -> None:
    """What is decoded and encoded again is the same bytes, in the newest version."""
    if golden.version == STORE.newest(golden.record).version:
        event = decode_record(golden.wire, golden.event_type)
        assert encode_record(event) == golden.wire


@pytest.mark.parametrize("golden", GOLDENS, ids=str)
def test_a_golden_record_names_its_schema(golden: GoldenRecord) -> None:
    """The id on the wire is that of the file's record and version."""
    packaged = STORE.by_id(int.from_bytes(golden.wire[1:5], "big"))
    assert (packaged.record, packaged.version) == (golden.record, golden.version)


def test_every_version_of_every_record_has_examples() -> None:
    """Two at least, and no example is of nothing."""
    assert problems(GOLDENS, STORE) == []


@pytest.mark.parametrize("record", STORE.records())
def test_the_examples_of_a_record_differ_in_every_field(record: str) -> None:
    """A field that is everywhere at its default would be no example of anything."""
    values = [golden.value for golden in GOLDENS if golden.record == record]
    for field in msgspec.structs.fields(RECORDS[record]):
        if not field.required:
            seen = {json.dumps(it[field.name]) for it in values if field.name in it}
            assert len(seen) > 1, field.name


# -- the tests above, tested -----------------------------------------------------------------------


def golden(record: str = "crash_suspected", version: int = 1) -> GoldenRecord:
    """A file's content."""
    return GoldenRecord(record, version, "case", {}, b"")


@pytest.mark.parametrize(
    ("goldens", "expected"),
    [
        pytest.param(
            [g for g in GOLDENS if g.record != "crash_suspected"],
            "crash_suspected.v1: 0",
            id="none",
        ),
        pytest.param([*GOLDENS, golden("gone")], "gone.v1.case: there is no", id="no_such_record"),
        pytest.param([*GOLDENS, golden(version=99)], "v99.case: there is no", id="no_such_version"),
    ],
)
def test_a_record_without_examples_is_seen(goldens: list[GoldenRecord], expected: str) -> None:
    """So is an example of a record that is gone."""
    (problem,) = problems(goldens, STORE)
    assert expected in problem


def edited(record: str, old: str, new: str) -> Codec:
    """The codec of our schemas, of which one was edited in its place instead of a new version."""
    schemas = []
    for packaged in STORE.all():
        text = packaged.text
        if packaged.record == record:
            assert old in text
            text = text.replace(old, new, 1)
        schema = schema_from_text(text)
        schemas.append(
            PackagedSchema(
                record=packaged.record,
                version=packaged.version,
                schema_id=packaged.schema_id,
                text=text,
                schema=schema,
                fingerprint=fingerprint(schema),
            )
        )
    return Codec(SchemaStore(schemas))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param('"type": "long"', '"type": "string"', id="type"),
        pytest.param('"name": "crashes"', '"name": "deaths"', id="name"),
        pytest.param(
            '{\n      "name": "crashes"',
            '{"name": "new", "type": "int", "doc": "Number of news."}, {\n      "name": "crashes"',
            id="new_field",
        ),
    ],
)
def test_a_schema_that_is_edited_in_its_place_is_seen(old: str, new: str) -> None:
    """A released version never changes: its examples do not decode any more, or mean otherwise."""
    codec = edited("crash_suspected", old, new)
    examples = [it for it in GOLDENS if it.record == "crash_suspected"]
    for example in examples:
        try:
            _, _, value = codec.decode(example.wire)
        except PoisonRecord:
            continue
        assert value != example.value


def test_a_removed_schema_is_seen() -> None:
    """Its examples decode no more."""
    without = SchemaStore([it for it in STORE.all() if it.record != "crash_suspected"])
    examples = [it for it in GOLDENS if it.record == "crash_suspected"]
    with pytest.raises(PoisonRecord):
        Codec(without).decode(examples[0].wire)
    assert len(problems(examples, without)) > len(examples)


def test_files_are_written_once(tmp_path: Path) -> None:
    """A golden file that is there is left as it is, whatever has become of its event."""
    assert len(write_missing(GOLDEN, tmp_path)) == len(GOLDEN)
    name = next(iter(GOLDEN))
    (tmp_path / f"{name}.json").write_text("as it was")
    assert write_missing(GOLDEN, tmp_path) == []
    assert (tmp_path / f"{name}.json").read_text() == "as it was"


def test_no_example_waits_to_be_written() -> None:
    """Every event of ``tests.support.golden_events`` has its file."""
    assert {str(it) for it in GOLDENS} >= GOLDEN.keys()


def _holds(meaning: Any, value: Any) -> bool:
    """Whether a meaning says all that an older one said, in every record within it."""
    match meaning, value:
        case dict(), dict():
            return all(name in meaning and _holds(meaning[name], value[name]) for name in value)
        case list(), list():
            return len(meaning) == len(value) and all(map(_holds, meaning, value))
        case _:
            return bool(meaning == value)
