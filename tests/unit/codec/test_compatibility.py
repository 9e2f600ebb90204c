"""Compatibility of schemas: the rules one by one, and fastavro as the judge of all together."""

import io
from typing import Any

import fastavro
import pytest
from fastavro.read import SchemaResolutionError
from hypothesis import given, settings
from hypothesis import strategies as st

from services.shared.codec.avro_parser import schema_from_json
from services.shared.codec.compatibility import (
    Incompatibility,
    broken_promises,
    incompatibilities,
)
from services.shared.codec.errors import InvalidSchema
from services.shared.domain.compatibility import Compatibility
from tests.support.avro_strategies import Document, covering_values, evolutions, schemas
from tests.support.slow_examples import slow_examples


def record(*fields: Document, **more: Any) -> Document:
    """A record R in the namespace n."""
    return {"type": "record", "name": "R", "namespace": "n", "fields": list(fields), **more}


def field(type_: Document, **more: Any) -> Document:
    """A field f."""
    return {"name": "f", "type": type_, **more}


def enum(symbols: str, **more: Any) -> Document:
    """An enum E of one-letter symbols."""
    return {"type": "enum", "name": "E", "symbols": list(symbols), **more}


def fixed(size: int, name: str = "F") -> Document:
    """A fixed."""
    return {"type": "fixed", "name": name, "size": size}


TREE = record(field(["null", "R"]))
COMPATIBLE = [
    pytest.param("long", "int", id="int_to_long"),
    pytest.param("float", "int", id="int_to_float"),
    pytest.param("double", "int", id="int_to_double"),
    pytest.param("float", "long", id="long_to_float"),
    pytest.param("double", "long", id="long_to_double"),
    pytest.param("double", "float", id="float_to_double"),
    pytest.param("bytes", "string", id="string_to_bytes"),
    pytest.param("string", "bytes", id="bytes_to_string"),
    pytest.param(["null", "long"], "long", id="became_optional"),
    pytest.param(["null", "double"], "int", id="became_optional_and_wider"),
    pytest.param("double", ["int", "long"], id="every_branch_is_promoted"),
    pytest.param(["string", "long"], ["long", "string"], id="branches_in_another_order"),
    pytest.param(enum("ABC"), enum("AB"), id="enum_gained_a_symbol"),
    pytest.param(enum("A", default="A"), enum("AB"), id="enum_lost_one_but_has_a_default"),
    pytest.param(fixed(4), fixed(4), id="same_fixed"),
    pytest.param({"type": "array", "items": "long"}, {"type": "array", "items": "int"}, id="items"),
    pytest.param({"type": "map", "values": "long"}, {"type": "map", "values": "int"}, id="values"),
]
INCOMPATIBLE = [
    pytest.param("int", "long", "R.f", id="long_to_int"),
    pytest.param("long", "double", "R.f", id="double_to_long"),
    pytest.param("string", "long", "R.f", id="long_to_string"),
    pytest.param("boolean", "int", "R.f", id="int_to_boolean"),
    pytest.param("long", ["null", "long"], "R.f", id="was_optional"),
    pytest.param(["null", "string"], "long", "R.f", id="no_branch"),
    pytest.param(enum("A"), enum("AB"), "R.f", id="enum_lost_a_symbol"),
    pytest.param(fixed(4), fixed(5), "R.f", id="fixed_of_another_size"),
    pytest.param(fixed(4, "G"), fixed(4), "R.f", id="fixed_of_another_name"),
    pytest.param(fixed(4), "bytes", "R.f", id="bytes_to_fixed"),
    pytest.param(
        {"type": "array", "items": "int"}, {"type": "array", "items": "long"}, "R.f[]", id="items"
    ),
    pytest.param(
        {"type": "map", "values": "int"}, {"type": "map", "values": "long"}, "R.f{}", id="values"
    ),
    pytest.param(
        {"type": "array", "items": "int"}, {"type": "map", "values": "int"}, "R.f", id="kinds"
    ),
]


def compare(reader: Document, writer: Document) -> list[Incompatibility]:
    """Compare two schemas given as JSON."""
    return incompatibilities(schema_from_json(reader), schema_from_json(writer))


@pytest.mark.parametrize(("reader", "writer"), COMPATIBLE)
def test_change_that_the_specification_resolves_is_compatible(
    reader: Document, writer: Document
) -> None:
    """Each promotion and widening of the specification is allowed."""
    assert compare(record(field(reader)), record(field(writer))) == []


@pytest.mark.parametrize(("reader", "writer", "path"), INCOMPATIBLE)
def test_change_that_cannot_be_resolved_is_named_with_its_path(
    reader: Document, writer: Document, path: str
) -> None:
    """What the specification does not resolve is reported once, where it is."""
    assert [i.path for i in compare(record(field(reader)), record(field(writer)))] == [path]


def test_new_field_needs_a_default() -> None:
    """A reader's field that the writer lacks is only readable with a default."""
    assert compare(record(field("int", default=0)), record()) == []
    (problem,) = compare(record(field("int")), record())
    assert str(problem) == "R.f: the writer lacks the field and it has no default"


def test_dropped_field_is_skipped() -> None:
    """A writer's field that the reader lacks does not matter."""
    assert compare(record(), record(field("int"))) == []


def test_renamed_field_needs_an_alias() -> None:
    """A field is found under its alias, and its type is compared then."""
    renamed = {"name": "g", "type": "long", "aliases": ["f"]}
    assert compare(record(renamed), record(field("int"))) == []
    assert compare(record(renamed), record(field("string"))) != []
    assert compare(record({"name": "g", "type": "long"}), record(field("int"))) != []


def test_renamed_record_needs_an_alias() -> None:
    """A record is found by its unqualified name, or by a full alias."""
    other = record(field("int"), name="S")
    assert compare(other, record(field("int"))) != []
    assert compare({**other, "aliases": ["R"]}, record(field("int"))) == []
    assert compare({**other, "aliases": ["m.R"]}, record(field("int"))) != []
    assert compare(record(field("int"), namespace="m"), record(field("int"))) == []


def test_branch_of_the_same_name_gives_the_details() -> None:
    """In a union, what is wrong inside the branch that was meant is reported."""
    inner = {"type": "record", "name": "I", "fields": [field("long")]}
    narrower = {"type": "record", "name": "I", "fields": [field("int")]}
    problems = compare(record(field(["null", narrower])), record(field(["null", inner])))
    assert [problem.path for problem in problems] == ["R.f.f"]


def test_recursive_schemas_are_compared_in_finite_time() -> None:
    """A record inside itself is compared once."""
    assert compare(TREE, TREE) == []
    assert compare(record(field("R"), field("int") | {"name": "g"}), record(field("R"))) != []


def test_entangled_schemas_are_refused() -> None:
    """Work is bounded although a small schema can name a record in exponentially many places."""
    inner: Document = {"type": "record", "name": "R0", "fields": []}
    for level in range(1, 16):
        twice = [{"name": "a", "type": inner}, {"name": "b", "type": inner["name"]}]
        inner = {"type": "record", "name": f"R{level}", "fields": twice}
    flat = schema_from_json(inner)
    with pytest.raises(InvalidSchema, match="entangled"):
        incompatibilities(flat, flat)


V1 = record(field("int"))
V2 = record(field("int"), {"name": "g", "type": "int", "default": 0})
V3 = record({"name": "g", "type": "int", "default": 0})
V4 = record(field("int"), {"name": "h", "type": "int"})


@pytest.mark.parametrize(
    ("kind", "new", "earlier", "allowed"),
    [
        pytest.param("BACKWARD", V3, [V1], True, id="backward_may_drop"),
        pytest.param("BACKWARD", V4, [V1], False, id="backward_may_not_demand"),
        pytest.param("FORWARD", V4, [V1], True, id="forward_may_add"),
        pytest.param("FORWARD", V3, [V1], False, id="forward_may_not_drop"),
        pytest.param("FULL", V2, [V1], True, id="full_may_add_with_default"),
        pytest.param("FULL", V3, [V1], False, id="full_may_not_drop"),
        pytest.param("BACKWARD", V1, [V3, V2], True, id="only_the_last_counts"),
        pytest.param("BACKWARD_TRANSITIVE", V1, [V3, V2], False, id="all_count"),
        pytest.param("FORWARD", V3, [V1, V3], True, id="forward_only_the_last"),
        pytest.param("FORWARD_TRANSITIVE", V3, [V1, V3], False, id="forward_all"),
        pytest.param("FULL", V3, [V1, V3], True, id="full_only_the_last"),
        pytest.param("FULL_TRANSITIVE", V3, [V1, V3], False, id="full_all"),
        pytest.param("NONE", record(field("bytes")), [V1], True, id="none_allows_all"),
        pytest.param("FULL_TRANSITIVE", V1, [], True, id="the_first_version"),
    ],
)
def test_promise(kind: str, new: Document, earlier: list[Document], *, allowed: bool) -> None:
    """Each kind of compatibility compares in its direction, with the last or with all."""
    found = broken_promises(
        Compatibility(kind),
        new=schema_from_json(new),
        earlier=[schema_from_json(document) for document in earlier],
    )
    assert (found == []) is allowed


@given(schemas())
def test_schema_is_compatible_with_itself(document: Document) -> None:
    """Nothing keeps a reader from reading its own records."""
    assert compare(document, document) == []


@settings(max_examples=3 * slow_examples.max_examples)
@given(st.data())
def test_we_and_fastavro_agree_on_what_can_be_read(data: st.DataObject) -> None:
    """We claim a schema pair compatible exactly when fastavro reads values of every shape."""
    writer = data.draw(schemas(), label="writer")
    reader = data.draw(evolutions(writer), label="reader")
    readable = all(can_read(reader, writer, value) for value in covering_values(writer))
    assert (compare(reader, writer) == []) is readable


def can_read(reader: Document, writer: Document, value: Any) -> bool:
    """Whether fastavro resolves a value."""
    body = io.BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(writer), value)
    body.seek(0)
    try:
        fastavro.schemaless_reader(
            body, fastavro.parse_schema(writer), fastavro.parse_schema(reader)
        )
    except SchemaResolutionError:
        return False
    return True
