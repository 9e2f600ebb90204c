"""The registry's records are those of Confluent's registry, byte by byte where it matters."""

import pytest

from services.schema_registry.changes import (
    Change,
    LevelErased,
    LevelSet,
    SchemaErased,
    SchemaPut,
    SubjectHidden,
)
from services.schema_registry.log_records import (
    UnreadableRecord,
    change_from_record,
    record_from_change,
)
from services.schema_registry.parsed_schema import schema_from_registered
from services.shared.codec.errors import InvalidSchema
from services.shared.domain.compatibility import Compatibility
from services.shared.ports.schema_log import LoggedRecord

LONG = schema_from_registered('"long"')
SCHEMA_KEY = b'{"keytype":"SCHEMA","subject":"s","version":2,"magic":1}'
CONFIG_KEY = b'{"keytype":"CONFIG","subject":"s","magic":0}'

WRITTEN = [
    pytest.param(
        SchemaPut(subject="s", version=2, schema_id=7, schema=LONG),
        SCHEMA_KEY,
        b'{"subject":"s","version":2,"id":7,"schema":"\\"long\\"","deleted":false}',
        id="schema",
    ),
    pytest.param(
        SchemaPut(subject="s", version=2, schema_id=7, schema=LONG, is_deleted=True),
        SCHEMA_KEY,
        b'{"subject":"s","version":2,"id":7,"schema":"\\"long\\"","deleted":true}',
        id="hidden_schema",
    ),
    pytest.param(SchemaErased(subject="s", version=2), SCHEMA_KEY, None, id="erased_schema"),
    pytest.param(
        SubjectHidden(subject="s", last_version=3),
        b'{"keytype":"DELETE_SUBJECT","subject":"s","magic":0}',
        b'{"subject":"s","version":3}',
        id="hidden_subject",
    ),
    pytest.param(
        LevelSet(subject="s", level=Compatibility.FULL),
        CONFIG_KEY,
        b'{"compatibilityLevel":"FULL"}',
        id="level",
    ),
    pytest.param(LevelErased(subject="s"), CONFIG_KEY, None, id="erased_level"),
    pytest.param(
        LevelSet(subject="", level=Compatibility.NONE),
        b'{"keytype":"CONFIG","subject":null,"magic":0}',
        b'{"compatibilityLevel":"NONE"}',
        id="general_level",
    ),
]


@pytest.mark.parametrize(("change", "key", "value"), WRITTEN)
def test_change_is_written_as_confluent_writes_it_and_read_back(
    change: Change, key: bytes, value: bytes | None
) -> None:
    """Keys are equal byte by byte, or compaction would keep both."""
    assert record_from_change(change) == LoggedRecord(key, value)
    assert change_from_record(LoggedRecord(key, value)) == change


def test_record_of_a_newer_registry_is_read() -> None:
    """Fields that we do not write are passed over."""
    value = (
        b'{"subject":"s","version":2,"id":7,"guid":"g","md5":"m","ts":1,"schemaType":"AVRO",'
        b'"references":[],"metadata":null,"ruleSet":null,"schema":"\\"long\\"","deleted":false}'
    )
    assert change_from_record(LoggedRecord(SCHEMA_KEY, value)) == SchemaPut(
        subject="s", version=2, schema_id=7, schema=LONG
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b'{"keytype":"NOOP","magic":0}', None),
        (b'{"keytype":"MODE","subject":null,"magic":0}', b'{"mode":"READWRITE"}'),
        (b'{"keytype":"DELETE_SUBJECT","subject":"s","magic":0}', None),
        (b'{"keytype":"FUTURE"}', None),
    ],
)
def test_record_that_does_not_concern_us_is_no_change(key: bytes, value: bytes | None) -> None:
    """Other kinds of a registry's records are read without complaint."""
    assert change_from_record(LoggedRecord(key, value)) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        pytest.param(b"", b"", id="empty"),
        pytest.param(b"not json", b"{}", id="key_is_no_json"),
        pytest.param(b"[]", b"{}", id="key_is_a_list"),
        pytest.param(b'{"keytype":"FUTURE"}', b"{}", id="unknown_kind"),
        pytest.param(b'{"keytype":"SCHEMA","subject":"s"}', b"{}", id="no_version"),
        pytest.param(b'{"keytype":"SCHEMA","version":1}', b"{}", id="no_subject"),
        pytest.param(SCHEMA_KEY, b"{}", id="empty_schema"),
        pytest.param(SCHEMA_KEY, b'{"id":"x"}', id="id_is_text"),
        pytest.param(CONFIG_KEY, b'{"compatibilityLevel":"SIDEWAYS"}', id="unknown_level"),
        pytest.param(
            SCHEMA_KEY,
            b'{"subject":"s","version":2,"id":7,"schema":"x","schemaType":"PROTOBUF"}',
            id="protobuf",
        ),
        pytest.param(
            SCHEMA_KEY,
            b'{"subject":"s","version":2,"id":7,"schema":"\\"long\\"","references":[{}]}',
            id="references",
        ),
    ],
)
def test_record_that_is_not_ours_is_unreadable(key: bytes, value: bytes) -> None:
    """Whatever stands in the topic, nothing but ``UnreadableRecord`` comes of it."""
    with pytest.raises(UnreadableRecord):
        change_from_record(LoggedRecord(key, value))


def test_record_of_a_schema_that_is_none_is_an_invalid_schema() -> None:
    """Texts are parsed when they are read, not when they are first used."""
    value = b'{"subject":"s","version":2,"id":7,"schema":"strange"}'
    with pytest.raises(InvalidSchema):
        change_from_record(LoggedRecord(SCHEMA_KEY, value))
