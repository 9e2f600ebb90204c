"""Answers that have to be JSON."""

from typing import Any

import pytest

from services.model_caller.levers.effort import MAX_STEPS, Effort, TooMuch, allowing
from services.model_caller.levers.schemas import why_not
from services.model_caller.levers.structure import (
    MAX_CHECKED_CHARS,
    fault_of_answer,
    fault_of_content,
    mended,
)
from services.shared.domain.cascade.asked import Asked

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["name"],
    "additionalProperties": False,
    "properties": {"name": {"type": "string"}, "tags": {"type": "array", "uniqueItems": True}},
}
ANY = Asked(wants_json=True)
OF_SCHEMA = Asked(wants_json=True, schema=SCHEMA)


def document(*contents: str | None, reason: str = "stop", **message: Any) -> dict[str, Any]:
    """A chat answer with these choices."""
    return {
        "choices": [
            {"index": i, "message": {"content": content, **message}, "finish_reason": reason}
            for i, content in enumerate(contents)
        ]
    }


@pytest.mark.parametrize(
    ("content", "asked", "fault"),
    [
        ('{"a": 1}', ANY, None),
        ("[1]", ANY, "it is not a JSON object"),
        ("{'a': 1}", ANY, "it is not JSON"),
        ("", ANY, "it is not JSON"),
        ('{"a": 1} ok', ANY, "it is not JSON"),
        ("[" * 100_000, ANY, "it is not JSON"),
        ("x" * (MAX_CHECKED_CHARS + 1), ANY, None),
        ('{"name": "x"}', OF_SCHEMA, None),
        ("{}", OF_SCHEMA, "the value at '/' is against the schema's 'required'"),
        ('{"name": 1}', OF_SCHEMA, "the value at '/name' is against the schema's 'type'"),
    ],
)
def test_faults_of_texts(content: str, asked: Asked, fault: str | None) -> None:
    """Strict JSON, and the schema; what is wrong is named by place and rule."""
    assert fault_of_content(content, asked) == fault


def test_every_choice_is_checked() -> None:
    """One that is wrong is enough."""
    assert fault_of_answer(document("{}", "{}"), ANY) is None
    assert fault_of_answer(document("{}", "no"), ANY) == "it is not JSON"
    assert fault_of_answer(document(None), ANY) == "it is not JSON"


@pytest.mark.parametrize(
    "answer",
    [
        document(None, refusal="No."),
        document(None, tool_calls=[{"id": "1"}]),
        document(None, function_call={"name": "f"}),
        document("", reason="content_filter"),
    ],
)
def test_what_is_no_json_by_right_passes(answer: dict[str, Any]) -> None:
    """Refusals, calls of tools, what was filtered."""
    assert fault_of_answer(answer, OF_SCHEMA) is None
    assert mended(answer, OF_SCHEMA)


@pytest.mark.parametrize(
    ("content", "inner"),
    [
        ('```json\n{"name": "x"}\n```', '{"name": "x"}'),
        ('Sure:\n```\n{"name": "x"}\n```\nBye {}.', '{"name": "x"}'),
        ('Here: {"name": "a {b}"} Bye.', '{"name": "a {b}"}'),
        ('{"name": "x"}', '{"name": "x"}'),
    ],
)
def test_what_surrounds_json_is_cut_off(content: str, inner: str) -> None:
    """Fences and prose; the JSON itself is not touched."""
    answer = document(content)
    assert mended(answer, OF_SCHEMA)
    assert answer["choices"][0]["message"]["content"] == inner


@pytest.mark.parametrize("content", ["no", '{"title": "x"}', "{ nothing }", "y" * 1_000_001])
def test_what_has_no_valid_json_in_it_is_not_mended(content: str) -> None:
    """Nothing is invented."""
    answer = document(content)
    assert mended(answer, OF_SCHEMA) == (len(content) > MAX_CHECKED_CHARS)
    assert answer["choices"][0]["message"]["content"] == content


def test_items_are_compared_in_one_pass() -> None:
    """Equal values are found whatever the order of their keys; 1 and true differ."""
    tags = {"type": "array", "uniqueItems": True}
    assert why_not(tags, [{"a": 1, "b": 2}, {"b": 2, "a": 1}]) is not None
    assert why_not(tags, [1, True, "1"]) is None
    assert why_not({"uniqueItems": False}, [1, 1]) is None


def test_a_check_takes_a_bounded_amount_of_work() -> None:
    """What takes more is not called wrong."""
    schema = {"type": "array", "items": {"type": "integer"}}
    assert why_not(schema, ["x"]) is not None
    assert why_not(schema, [*range(MAX_STEPS), "x"]) is None
    assert why_not({"pattern": "^a+$"}, "a" * 20_000) is None
    assert why_not({"pattern": "^a+$"}, "b") is not None


def test_checks_of_one_answer_share_their_effort() -> None:
    """When it is used up, the next check is not made; whoever wants to know of it is told."""
    numbers = {"type": "array", "items": {"type": "integer"}}
    with allowing(Effort(50)):
        assert why_not(numbers, ["x"]) is not None
        assert why_not(numbers, [*range(60), "x"]) is None
        assert why_not(numbers, ["x"]) is None
    with allowing(Effort(50, gives_up=False)), pytest.raises(TooMuch):
        why_not(numbers, [*range(60), "x"])
    assert why_not(numbers, [*range(60), "x"]) is not None


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "https://example.com/schema.json"},
        {"$ref": "#/nowhere"},
        {"type": "object", "properties": 7},
        {"type": "wrong"},
    ],
)
def test_a_schema_that_cannot_be_used_calls_nothing_wrong(schema: dict[str, Any]) -> None:
    """No reference is fetched, and no malformed schema is the answer's fault."""
    assert why_not(schema, {"a": "x"}) is None


def test_a_pattern_that_is_none_calls_nothing_wrong() -> None:
    """Its fault is not the answer's."""
    assert why_not({"pattern": "("}, "x") is None


def test_recursive_schemas_are_followed() -> None:
    """As deep as the value is."""
    tree = {"type": "object", "properties": {"next": {"$ref": "#"}}}
    assert why_not(tree, {"next": {"next": {}}}) is None
    assert why_not(tree, {"next": {"next": 7}}) is not None
