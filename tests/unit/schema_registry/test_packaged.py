"""The schemas that come with the project, and where they stand in the registry."""

from services.schema_registry.packaged import packaged_schemas, packaged_subjects
from services.shared.codec.schemas import SchemaStore

STORE = SchemaStore.packaged()


def test_every_packaged_schema_stands_under_some_subject() -> None:
    """Under its topics; without one, under the record's full name; unknown records nowhere."""
    topics = {"suspects": "crash_suspected", "more-suspects": "crash_suspected", "other": "foreign"}
    subjects = packaged_subjects(STORE, topics)
    assert subjects["suspects-value"] == subjects["more-suspects-value"] == "crash_suspected"
    assert subjects["millrace.CacheMissed"] == "cache_missed"
    assert "other-value" not in subjects
    assert "millrace.CrashSuspected" not in subjects
    assert set(subjects.values()) == set(STORE.records())


def test_packaged_schemas_keep_their_ids_and_texts() -> None:
    """Each is what the store holds, versions of a record in their order."""
    ours = packaged_schemas(STORE)
    assert {schema.schema_id: schema.schema.text for schema in ours} == {
        schema.schema_id: schema.text for schema in STORE.all()
    }
    versions = [STORE.by_id(schema.schema_id) for schema in ours]
    assert versions == sorted(versions, key=lambda version: (version.record, version.version))
