"""Instances of JSON Schemas, checked by a validator."""

import json

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.simulator.schema_instance import instance_text
from tests.support.slow_examples import slow_examples

SCHEMAS: dict[str, dict[str, object]] = {
    "nothing said": {},
    "boolean": {"type": "boolean"},
    "null": {"type": "null"},
    "nullable": {"type": ["null", "integer"]},
    "constant": {"const": {"a": [1, None]}},
    "enum of mixed types": {"enum": ["a", 1, None]},
    "string of a length": {"type": "string", "minLength": 50, "maxLength": 60},
    "short string": {"type": "string", "maxLength": 2},
    "empty string": {"type": "string", "maxLength": 0},
    "integer in bounds": {"type": "integer", "minimum": 3, "maximum": 4},
    "integer above": {"type": "integer", "exclusiveMinimum": 1_000},
    "integer below": {"type": "integer", "exclusiveMaximum": -5},
    "integer multiple": {"type": "integer", "minimum": 7, "maximum": 29, "multipleOf": 10},
    "number in narrow bounds": {"type": "number", "minimum": 0.25, "maximum": 0.2501},
    "number strictly inside": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    "number that is a multiple": {"type": "number", "multipleOf": 0.5, "minimum": 0.3},
    "number that is a whole multiple": {"type": "number", "multipleOf": 5},
    "array of a size": {"type": "array", "items": {"type": "integer"}, "minItems": 3},
    "array of at most one": {"type": "array", "items": {"type": "null"}, "maxItems": 1},
    "array without type": {"items": {"type": "string"}},
    "tuple": {"type": "array", "prefixItems": [{"const": 1}, {"const": 2}], "maxItems": 2},
    "object without type": {"properties": {"a": {"type": "integer"}}, "required": ["a", "b"]},
    "closed object": {
        "type": "object",
        "properties": {"a": {"type": "string", "format": "date"}},
        "required": ["a"],
        "additionalProperties": False,
    },
    "any of": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    "one of": {"oneOf": [{"type": "string"}, {"type": "array"}]},
    "all of": {
        "properties": {"a": {"type": "integer"}},
        "required": ["a"],
        "allOf": [{"properties": {"b": {"type": "boolean"}}, "required": ["b"]}],
    },
    "reference": {
        "type": "object",
        "properties": {"p": {"$ref": "#/$defs/point~1x", "description": "where"}},
        "required": ["p"],
        "$defs": {"point/x": {"type": "object", "properties": {"x": {"type": "number"}}}},
    },
    "tree": {
        "$ref": "#/$defs/node",
        "$defs": {
            "node": {
                "type": "object",
                "properties": {
                    "value": {"type": "integer"},
                    "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                },
                "required": ["value", "children"],
            }
        },
    },
}


@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1])
def test_instance_satisfies_its_schema(name: str, seed: int) -> None:
    """What is made is valid, and the same again for the same seed."""
    schema = SCHEMAS[name]
    text = instance_text(schema, seed)
    jsonschema_rs.validate(schema, json.loads(text), validate_formats=True)
    assert text == instance_text(schema, seed)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"allOf": [{"$ref": "#"}]},
        {"$ref": "#/nowhere"},
        {"type": "array", "minItems": 10**9, "items": {"type": "integer"}},
        {"type": "string", "minLength": 10**9},
        {"type": "integer", "minimum": 10**300},
        {"type": "object", "required": ["a", "b", "c"], "properties": {
            name: {"$ref": "#"} for name in "abc"
        }},
        {"type": "array", "minItems": 60, "items": {"$ref": "#"}},
    ],
)  # fmt: skip
def test_schema_without_end_ends(schema: dict[str, object]) -> None:
    """Endless and absurd schemas give something of bounded size."""
    text = instance_text(schema, 1)
    json.loads(text)
    assert len(text) < 1_000_000


KEYWORDS = st.sampled_from(
    [
        *("type", "properties", "items", "enum", "$ref", "anyOf", "required", "minimum"),
        *("maximum", "multipleOf", "minItems", "maxLength", "string", "object", "array", "number"),
    ]
)
SCALARS = (
    KEYWORDS
    | st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYWORDS, inner, max_size=4),
    max_leaves=12,
)


@slow_examples
@given(st.dictionaries(KEYWORDS, VALUES))
def test_any_object_is_taken_for_a_schema(schema: dict[str, object]) -> None:
    """Whatever stands where a schema should be, JSON comes out and nothing is raised."""
    json.loads(instance_text(schema, 1))
