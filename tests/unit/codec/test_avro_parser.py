"""Parsing of schemas: what is refused, and the canonical forms."""

from typing import Any

import fastavro
import pytest
from fastavro.schema import to_parsing_canonical_form
from hypothesis import given
from hypothesis import strategies as st

from services.shared.codec.avro_parser import MAX_DEPTH, schema_from_json, schema_from_text
from services.shared.codec.avro_schema import Record
from services.shared.codec.canonical_form import fingerprint, parsing_form, resolution_form
from services.shared.codec.errors import InvalidSchema
from tests.support.avro_strategies import Document, evolutions, schemas


def record(*fields: Document, **more: Any) -> Document:
    """A record R."""
    return {"type": "record", "name": "R", "fields": list(fields), **more}


def field(type_: Document, **more: Any) -> Document:
    """A field f."""
    return {"name": "f", "type": type_, **more}


def nested(depth: int) -> Document:
    """A list of lists of … long."""
    document: Document = "long"
    for _ in range(depth):
        document = {"type": "array", "items": document}
    return document


ENUM = {"type": "enum", "name": "E", "symbols": ["A"]}

NOT_SCHEMAS = [
    pytest.param(None, id="null"),
    pytest.param(3, id="number"),
    pytest.param({}, id="no_type"),
    pytest.param({"type": 3}, id="type_is_a_number"),
    pytest.param("strange", id="unknown_type"),
    pytest.param({"type": "strange"}, id="unknown_type_in_an_object"),
    pytest.param([], id="empty_union"),
    pytest.param(["int", "int"], id="union_with_a_type_twice"),
    pytest.param([nested(1), {"type": "array", "items": "int"}], id="union_with_two_lists"),
    pytest.param(["null", ["int"]], id="union_in_a_union"),
    pytest.param({"type": "array"}, id="list_without_items"),
    pytest.param({"type": "map"}, id="map_without_values"),
    pytest.param(nested(MAX_DEPTH + 1), id="too_deep"),
    pytest.param(nested(900), id="far_too_deep"),
    pytest.param({"type": "record", "name": "R"}, id="record_without_fields"),
    pytest.param({"type": "record", "name": "R", "fields": {}}, id="fields_are_an_object"),
    pytest.param({"type": "record", "name": "R", "fields": ["f"]}, id="field_is_a_string"),
    pytest.param({"type": "record", "fields": []}, id="record_without_name"),
    pytest.param(record(name="a b"), id="name_with_a_space"),
    pytest.param(record(name="a..b"), id="name_with_two_dots"),
    pytest.param(record(name=3), id="name_is_a_number"),
    pytest.param(record(name="long"), id="name_of_a_primitive"),
    pytest.param(record(namespace=3), id="namespace_is_a_number"),
    pytest.param(record(aliases="S"), id="aliases_are_a_string"),
    pytest.param(record(aliases=["a b"]), id="alias_with_a_space"),
    pytest.param(record({"type": "int"}), id="field_without_name"),
    pytest.param(record({"name": "f"}), id="field_without_type"),
    pytest.param(record(field("int", name="1f")), id="field_name_with_a_digit_first"),
    pytest.param(record(field("int", name="f); import os")), id="field_name_is_code"),
    pytest.param(record(field("int"), field("int")), id="field_twice"),
    pytest.param(record(field("R2")), id="unknown_reference"),
    pytest.param(record(field(record())), id="name_twice"),
    pytest.param({**ENUM, "symbols": []}, id="enum_without_symbols"),
    pytest.param({**ENUM, "symbols": ["A", "A"]}, id="symbol_twice"),
    pytest.param({**ENUM, "symbols": ["a-b"]}, id="symbol_is_no_name"),
    pytest.param({**ENUM, "default": "B"}, id="enum_default_unknown"),
    pytest.param({"type": "fixed", "name": "F"}, id="fixed_without_size"),
    pytest.param({"type": "fixed", "name": "F", "size": -1}, id="fixed_of_negative_size"),
    pytest.param({"type": "fixed", "name": "F", "size": True}, id="fixed_of_true_bytes"),
    pytest.param(record(field("int", default="1")), id="default_of_another_type"),
    pytest.param(record(field("int", default=2**31)), id="default_beyond_int"),
    pytest.param(record(field("int", default=True)), id="default_true_for_int"),
    pytest.param(record(field("boolean", default=1)), id="default_1_for_boolean"),
    pytest.param(record(field("null", default=0)), id="default_0_for_null"),
    pytest.param(record(field("double", default="x")), id="default_for_double"),
    pytest.param(record(field("string", default=None)), id="default_null_for_string"),
    pytest.param(record(field("bytes", default="€")), id="default_bytes_beyond_255"),
    pytest.param(record(field(["null", "int"], default="x")), id="default_of_no_branch"),
    pytest.param(record(field(nested(1), default=["x"])), id="default_item"),
    pytest.param(
        record(field({"type": "map", "values": "int"}, default={"a": "x"})), id="default_value"
    ),
    pytest.param(record(field(ENUM, default="B")), id="default_symbol"),
    pytest.param(
        record(field({"type": "fixed", "name": "F", "size": 2}, default="abc")), id="default_fixed"
    ),
    pytest.param(
        record(field(record(field("int"), name="I"), default={})), id="default_lacks_a_field"
    ),
]


@pytest.mark.parametrize("document", NOT_SCHEMAS)
def test_what_is_no_schema_is_refused(document: Document) -> None:
    """Every mistake is an ``InvalidSchema``, never another error."""
    with pytest.raises(InvalidSchema):
        schema_from_json(document)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("long", id="bare_word"),
        pytest.param(b'"\xff"', id="not_utf_8"),
        pytest.param("[" * 100_000, id="deep_json"),
        pytest.param('{"type":' * 100_000, id="deep_objects"),
    ],
)
def test_text_that_is_no_json_is_refused(text: str | bytes) -> None:
    """Hostile texts neither crash the parser nor pass it."""
    with pytest.raises(InvalidSchema):
        schema_from_text(text)


def test_names_are_written_in_full() -> None:
    """A name takes its namespace from where it stands; so do references and aliases."""
    inner = {"type": "enum", "name": "E", "namespace": "m", "symbols": ["A"]}
    fields = [field(inner), {"name": "g", "type": ["null", "m.E"]}, {"name": "h", "type": "R"}]
    schema = schema_from_json(record(*fields, namespace="n", aliases=["Old", "k.Old"]))
    assert list(schema.definitions) == ["n.R", "m.E"]
    assert schema.root_record().aliases == ("n.Old", "k.Old")


def test_type_in_an_object_is_the_type() -> None:
    """``{"type": {"type": "long"}}`` is long."""
    assert parsing_form(schema_from_json({"type": {"type": "long"}})) == '"long"'


def test_root_may_be_another_type_but_is_no_record_then() -> None:
    """Registries take any schema; records have fields."""
    with pytest.raises(InvalidSchema):
        schema_from_json("long").root_record()


@given(st.data())
def test_parsing_form_is_that_of_fastavro(data: st.DataObject) -> None:
    """Two implementations write the same canonical form."""
    document = data.draw(evolutions(data.draw(schemas())))
    theirs = to_parsing_canonical_form(fastavro.parse_schema(document))
    assert parsing_form(schema_from_json(document)) == theirs


@given(st.data())
def test_resolution_form_is_a_schema_that_means_the_same(data: st.DataObject) -> None:
    """Parsed again, a canonical text gives the same form: nothing that matters is lost."""
    schema = schema_from_json(data.draw(evolutions(data.draw(schemas()))))
    text = resolution_form(schema)
    assert resolution_form(schema_from_text(text)) == text


def test_fingerprint_ignores_prose_and_the_resolution_form_only_prose() -> None:
    """Docs change neither form; defaults, aliases and logical types only the second."""
    plain = record(field("long", default=0))
    bare = schema_from_json(plain)
    prose = schema_from_json(record(field("long", default=0, doc="d"), doc="d"))
    assert resolution_form(prose) == resolution_form(bare)
    timestamp = {"type": "long", "logicalType": "timestamp-millis"}
    for other in (
        record(field("long", default=1)),
        record(field("long", default=0, aliases=["g"])),
        record(field("long", default=0), aliases=["S"]),
        record(field(timestamp, default=0)),
    ):
        changed = schema_from_json(other)
        assert fingerprint(changed) == fingerprint(bare)
        assert resolution_form(changed) != resolution_form(bare)
    assert isinstance(bare.root_record(), Record)
