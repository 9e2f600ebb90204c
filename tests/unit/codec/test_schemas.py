"""The packaged schemas, the rules for them, and that each rule sees its violation."""

import json
from pathlib import Path
from typing import Any

import pytest

from services.shared.codec.avro_parser import schema_from_text
from services.shared.codec.compatibility import broken_promises
from services.shared.codec.errors import InvalidSchema, UnknownSchema
from services.shared.codec.schema_lint import id_problems, problems
from services.shared.codec.schemas import SCHEMAS_FOLDER, SchemaStore, read_folder, read_ids
from services.shared.domain.compatibility import Compatibility
from tests.support.avro_strategies import Document

PACKAGED = SchemaStore.packaged()
RELEASED_IDS = {
    "inference_requested.v1": 1,
    "cache_missed.v1": 2,
    "request_routed.v1": 3,
    "request_batch.v1": 4,
    "result_chunk.v1": 5,
    "inference_finished.v1": 6,
    "crash_suspected.v1": 7,
    "cache_entry.v1": 8,
    "usage_window.v1": 9,
    "model_call_attempt.v1": 10,
    "usage_recorded.v1": 11,
    "provider_health.v1": 12,
    "idempotency_claimed.v1": 13,
    "control_requested.v1": 14,
}
"""Ids that stored records carry: lines are added here, never changed."""


@pytest.mark.parametrize("path", sorted(SCHEMAS_FOLDER.glob("*.avsc")), ids=lambda path: path.stem)
def test_packaged_schema_keeps_the_rules(path: Path) -> None:
    """Every file of ``avro/`` passes the lint."""
    assert problems(path.stem, path.read_text(encoding="utf-8")) == []


def test_ids_on_the_wire_stay() -> None:
    """``ids.json`` gives every released schema its old id, and no id twice."""
    assert id_problems(read_ids(SCHEMAS_FOLDER / "ids.json"), RELEASED_IDS) == []


@pytest.mark.parametrize("record", PACKAGED.records())
def test_versions_of_a_record_read_all_earlier_ones(record: str) -> None:
    """BACKWARD_TRANSITIVE: consumers are upgraded first, stored records stay readable."""
    versions = [packaged.schema for packaged in PACKAGED.versions(record)]
    for position, version in enumerate(versions):
        promise = Compatibility.BACKWARD_TRANSITIVE
        assert broken_promises(promise, new=version, earlier=versions[:position]) == []


@pytest.mark.parametrize("record", PACKAGED.records())
def test_versions_of_a_record_are_numbered_from_1(record: str) -> None:
    """No version is skipped."""
    versions = PACKAGED.versions(record)
    assert [packaged.version for packaged in versions] == list(range(1, len(versions) + 1))


def test_record_of_one_name_is_the_same_in_every_schema() -> None:
    """Records that are parts of others (a request in a batch) are written alike everywhere."""
    definitions: dict[str, Any] = {}
    for record in PACKAGED.records():
        for name, definition in PACKAGED.newest(record).schema.definitions.items():
            assert definitions.setdefault(name, definition) == definition


GOOD: Document = {
    "type": "record",
    "name": "HopPassed",
    "namespace": "millrace",
    "doc": "A request passed a hop.",
    "fields": [{"name": "waited", "type": "long", "doc": "Time in the topic, ms."}],
}


def with_field(**changes: Any) -> Document:
    """The good schema with its field changed."""
    return {**GOOD, "fields": [{**GOOD["fields"][0], **changes}]}


EMPTY = {"type": "record", "name": "Empty", "doc": "Nothing.", "fields": []}
BAD = [
    pytest.param({**GOOD, "name": "HopDone"}, "is named millrace.HopDone", id="name"),
    pytest.param({**GOOD, "namespace": "other"}, "namespace", id="namespace"),
    pytest.param({**GOOD, "doc": " "}, "HopPassed: no doc", id="record_doc"),
    pytest.param(with_field(doc=""), "HopPassed.waited: no doc", id="field_doc"),
    pytest.param(with_field(doc="Time in the topic."), "names no unit", id="unit"),
    pytest.param(with_field(type=["null", "double"], doc="Time."), "names no unit", id="nullable"),
    pytest.param(with_field(type=["null", "HopPassed"]), "recursive", id="recursive"),
    pytest.param(
        with_field(type={"type": "array", "items": "null"}), "without bytes", id="array_of_null"
    ),
    pytest.param(
        with_field(type={"type": "map", "values": EMPTY}), "without bytes", id="map_of_empty"
    ),
    pytest.param(
        with_field(type=["null", {"type": "array", "items": EMPTY}]),
        "without bytes",
        id="array_in_a_union",
    ),
    pytest.param(
        with_field(type={**EMPTY, "name": "Inner", "namespace": "other"}),
        "Inner: not in the namespace",
        id="inner_namespace",
    ),
    pytest.param(
        with_field(type={"type": "enum", "name": "E", "symbols": ["A"]}), "E: no doc", id="enum_doc"
    ),
    pytest.param("long", "not a record", id="no_record"),
    pytest.param({"type": "record"}, "hop_passed.v1: ", id="no_schema"),
]


def test_good_schema_has_no_problems() -> None:
    """The lint's own example passes, so that each bad one fails for its own reason."""
    assert problems("hop_passed.v1", json.dumps(GOOD)) == []


@pytest.mark.parametrize(("document", "expected"), BAD)
def test_lint_sees_the_violation(document: Document, expected: str) -> None:
    """Each rule fails on a schema that breaks it."""
    assert any(expected in problem for problem in problems("hop_passed.v1", json.dumps(document)))


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        pytest.param({"a.v1": 1, "b.v1": 2, "c.v1": 3}, 0, id="appended"),
        pytest.param({"a.v1": 2, "b.v1": 1}, 2, id="swapped"),
        pytest.param({"a.v1": 1}, 1, id="removed"),
        pytest.param({"a.v1": 1, "b.v1": 2, "c.v1": 2}, 1, id="id_twice"),
        pytest.param({"a.v1": 1, "b.v1": 2, "c.v1": 9}, 1, id="gap"),
    ],
)
def test_changed_ids_are_seen(ids: dict[str, int], expected: int) -> None:
    """Ids are only ever appended."""
    assert len(id_problems(ids, {"a.v1": 1, "b.v1": 2})) == expected


def write_folder(folder: Path, files: dict[str, Document], ids: dict[str, int]) -> Path:
    """Make a schema folder."""
    for stem, document in files.items():
        (folder / f"{stem}.avsc").write_text(json.dumps(document))
    (folder / "ids.json").write_text(json.dumps(ids))
    return folder


def test_store_finds_schemas_by_id_and_by_record(tmp_path: Path) -> None:
    """Ids find any version, names the newest; version 10 is newer than 9."""
    files = {f"hop_passed.v{n}": GOOD for n in (9, 10)}
    ids = {"hop_passed.v9": 1, "hop_passed.v10": 2}
    store = SchemaStore(read_folder(write_folder(tmp_path, files, ids)))
    assert store.newest("hop_passed").version == 10
    assert store.id_of("hop_passed") == 2
    assert store.by_id(1).version == 9
    assert [packaged.schema_id for packaged in store.all()] == [1, 2]
    with pytest.raises(UnknownSchema):
        store.by_id(3)
    with pytest.raises(UnknownSchema):
        store.newest("hop_failed")


@pytest.mark.parametrize(
    ("files", "ids", "expected"),
    [
        pytest.param({"a.v1": GOOD}, {}, "differ in: a.v1", id="file_without_id"),
        pytest.param({}, {"a.v1": 1}, "differ in: a.v1", id="id_without_file"),
        pytest.param({"a.v1": GOOD}, {"a.v1": "x"}, "ids.json", id="id_is_no_number"),
        pytest.param({"A.v1": GOOD}, {"A.v1": 1}, "not named", id="name_in_capitals"),
        pytest.param({"a.v01": GOOD}, {"a.v01": 1}, "not named", id="version_with_a_zero"),
        pytest.param({"a.v1": {}}, {"a.v1": 1}, "a.v1.avsc: ", id="no_schema"),
        pytest.param({"a.v1": GOOD, "b.v1": GOOD}, {"a.v1": 1, "b.v1": 1}, "id 1", id="id_twice"),
    ],
)
def test_folder_with_a_mistake_is_refused(
    tmp_path: Path, files: dict[str, Document], ids: dict[str, int], expected: str
) -> None:
    """Each mistake names the file or the id."""
    with pytest.raises(InvalidSchema, match=expected):
        SchemaStore(read_folder(write_folder(tmp_path, files, ids)))


def test_text_of_a_packaged_schema_is_the_schema() -> None:
    """What the registry serves is what the services use."""
    for packaged in PACKAGED.all():
        assert schema_from_text(packaged.text) == packaged.schema
