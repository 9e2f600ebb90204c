"""Schemas of tools and formats: passed on unless nobody could compile them without harm."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.domain.admission.explosive_patterns import is_explosive
from services.shared.domain.admission.json_schemas import json_schema
from services.shared.domain.admission.limits import MAX_PATTERN_CHARS, MAX_SCHEMA_BYTES

NODE = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}

SAFE: dict[str, dict[str, Any]] = {
    "empty": {},
    "plain": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
    "recursive-through-a-property": {"$ref": "#/$defs/node", "$defs": {"node": NODE}},
    "recursive-through-the-root": {"properties": {"children": {"items": {"$ref": "#"}}}},
    "nullable-recursion": {
        "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
    },
    "chain": {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {}}},
    "diamond": {
        "allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}],
        "$defs": {"a": {"$ref": "#/$defs/c"}, "b": {"$ref": "#/$defs/c"}, "c": {}},
    },
    "elsewhere": {"$ref": "https://example.com/schema"},
    "anchor": {"$ref": "#node"},
    "dangling": {"$ref": "#/$defs/nothing/more"},
    "dangling-index": {"$ref": "#/anyOf/9", "anyOf": [{}]},
    "pointer-into-a-string": {"$ref": "#/title/x", "title": "t"},
    "no-reference": {"properties": {"$ref": {"type": "string"}}},
    "reference-of-another-type": {"$ref": 1},
    "members-of-another-type": {"$ref": "#/x", "allOf": [1], "anyOf": {}},
    "pattern": {"properties": {"a": {"pattern": "^[a-z]+(-[a-z]+)*$"}}},
    "property-named-pattern": {"properties": {"pattern": {"type": "string"}}},
    "patterns-of-another-type": {"patternProperties": []},
    "pattern-properties": {"patternProperties": {"^x-": {}}},
}

HARMFUL: dict[str, dict[str, Any]] = {
    "itself": {"$ref": "#"},
    "a-b-a": {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
    "through-any-of": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
    "through-an-index": {"allOf": [{"$ref": "#/allOf/0"}]},
    "escaped-pointer": {"$defs": {"a/b~c": {"$ref": "#/$defs/a~1b~0c"}}},
    "percent-pointer": {"$defs": {"a b": {"$ref": "#/$defs/a%20b"}}},
    "deep-inside": {"properties": {"x": {"items": [{"$ref": "#/properties/x/items/0"}]}}},
    "pattern": {"items": {"pattern": "(a+)+$"}},
    "pattern-property": {"patternProperties": {"^(x*)*$": {}}},
    "long-pattern": {"pattern": "a" * (MAX_PATTERN_CHARS + 1)},
    "many-patterns": {"anyOf": [{"pattern": "a" * 64}] * (MAX_PATTERN_CHARS // 64 + 1)},
    "large": {"description": "a" * MAX_SCHEMA_BYTES},
}


@pytest.mark.parametrize("schema", SAFE.values(), ids=SAFE.keys())
def test_a_schema_that_ends_is_passed_on(schema: dict[str, Any]) -> None:
    """Recursion that descends into the value is legal, and references may lead anywhere."""
    assert json_schema(schema) is None


@pytest.mark.parametrize("schema", HARMFUL.values(), ids=HARMFUL.keys())
def test_a_schema_that_could_hang_its_compiler_is_refused(schema: dict[str, Any]) -> None:
    """H36: circles without a step down, explosive patterns and sheer size are refused."""
    fault = json_schema(schema)
    assert fault is not None
    assert fault.code == "invalid_value"


@pytest.mark.timeout(10)
def test_a_long_chain_of_references_takes_linear_time() -> None:
    """Ten thousand references are followed once each, from whichever end they are met."""
    links = {f"a{i}": {"$ref": f"#/$defs/a{i + 1}"} for i in range(5_000)}
    assert json_schema({"$defs": links}) is None
    backwards = {f"a{i}": {"$ref": f"#/$defs/a{i - 1}"} for i in range(5_000)}
    assert json_schema({"$defs": backwards}) is None
    closed = {**links, "a5000": {"$ref": "#/$defs/a0"}}
    assert json_schema({"$defs": closed}) is not None


EXPLOSIVE = [
    r"(a+)+$",
    r"^(a*)*$",
    r"(a|b+)+",
    r"(b+|a)+",
    r"(.*)*x",
    r"(\w+\s?)*",
    r"([a-z]+)*!",
    r"((a+))+",
    r"((a+)?)+",
    r"(?:a{2,})+",
    r"(?P<x>a+)+",
    r"(?<x>a+){10,}",
    r"(a+?)+",
    r"(a{1,50})*",
    r"([]a]+)*",
    r"(x|(y+))*",
]
HARMLESS = [
    r"",
    r"^[\w.-]+@[\w-]+(\.[\w-]+)+$",
    r"^\d{4}-\d{2}-\d{2}$",
    r"^(\d{1,3}\.){3}\d{1,3}$",
    r"([a-z]+,)*",
    r"(a+b)+",
    r"(a|b)+",
    r"(ab?)*",
    r"(a?)*",
    r"(a+)?",
    r"(a+){2}",
    r"\(a+\)+",
    r"[(a+)]+",
    r"(a+",
    r"a+)+",
    r"[a+",
    "a\\",
    r"(?=a+)b+",
    r"^#(?:[0-9a-fA-F]{3}){1,2}$",
]


@pytest.mark.parametrize("pattern", EXPLOSIVE)
def test_bare_repetitions_of_repetitions_are_recognised(pattern: str) -> None:
    """The plain forms of catastrophic backtracking are found."""
    assert is_explosive(pattern)


@pytest.mark.parametrize("pattern", HARMLESS)
def test_ordinary_patterns_are_not(pattern: str) -> None:
    """What keeps its rounds apart, or has few of them, is accepted."""
    assert not is_explosive(pattern)


@pytest.mark.timeout(10)
@given(st.text(alphabet="ab()[]{}|*+?\\,^1"))
def test_any_text_is_judged(pattern: str) -> None:
    """A pattern that is none is judged too; plain text never is explosive."""
    is_explosive(pattern)
    assert not is_explosive(re.escape(pattern))
