"""What of a request is compared, and what never is."""

from typing import Any

import msgspec
import pytest

from services.cache_lookup.semantic.question import (
    MOST_CHARS,
    NotComparable,
    Question,
    question_of,
)
from services.shared.domain.answer_text import answer_hash
from services.shared.domain.events import CachePolicy, InferenceRequested

TEXT = "How do I reset my password?"
SYSTEM = {"role": "system", "content": "Be brief."}
TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello. "}]


def _request(body: dict[str, Any], **fields: Any) -> InferenceRequested:
    known = {"request_id": "r", "operation": "chat", "tenant": "t", "model": "m"}
    return InferenceRequested(**{**known, "body": msgspec.json.encode(body), **fields})


def _chat(text: Any = TEXT, *before: dict[str, Any], **body: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [*before, {"role": "user", "content": text}], **body}


def _question(body: dict[str, Any], **fields: Any) -> Question:
    question = question_of(_request(body, **fields), encoder="e", model="m")
    assert isinstance(question, Question)
    return question


PLAIN = _question(_chat())


@pytest.mark.parametrize(
    ("reason", "body", "fields"),
    [
        ("operation", {"model": "m", "input": TEXT}, {"operation": "embeddings"}),
        ("caller", _chat(), {"cache_policy": CachePolicy(no_semantic=True)}),
        ("tools", _chat(), {"has_tools": True}),
        ("tools", _chat(web_search_options={}, functions=[{}]), {}),
        ("images", _chat(), {"has_images": True}),
        ("choices", _chat(), {"choice_count": 2}),
        ("temperature", _chat(), {"temperature": 0.71}),
        ("logprobs", _chat(logprobs=True), {}),
        ("logprobs", {"prompt": TEXT, "logprobs": 0}, {"operation": "text_completion"}),
        ("field", _chat(prediction={"type": "content", "content": "x"}), {}),
        ("field", {"prompt": TEXT, "suffix": "."}, {"operation": "text_completion"}),
        ("last_turn", {"messages": TURNS}, {}),
        ("content", _chat([{"type": "input_audio", "input_audio": {}}]), {}),
        ("content", _chat(TEXT, {"role": "tool", "content": "7", "tool_call_id": "a"}), {}),
        ("content", _chat(TEXT, {"role": "assistant", "tool_calls": [{"id": "a"}]}), {}),
        ("prompts", {"prompt": [TEXT, TEXT]}, {"operation": "text_completion"}),
        ("prompts", {"model": "m"}, {"operation": "text_completion"}),
        ("too_long", _chat("very " * MOST_CHARS), {}),
        ("empty", _chat("  "), {}),
        ("script", _chat("\u30d1\u30b9\u30ef\u30fc\u30c9"), {}),
        ("time", _chat("What happened today?"), {}),
        ("payload", _chat("Fix the code:\n```\nx = 1\n```"), {}),
        ("deictic", _chat("Why is that?"), {}),
    ],
)
def test_some_requests_are_never_compared(
    reason: str, body: dict[str, Any], fields: dict[str, Any]
) -> None:
    """Each kind has its reason."""
    refused = question_of(_request(body, **fields), encoder="e", model="m")
    assert refused == NotComparable(reason)


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (_chat(), {"tenant": "another"}),
        (_chat(), {"cache_policy": CachePolicy(namespace="n")}),
        (_chat(), {"temperature": 0.0}),
        (_chat(TEXT, SYSTEM), {}),
        (_chat(TEXT, *TURNS), {}),
        (_chat(response_format={"type": "json_object"}), {}),
        (_chat(max_tokens=5), {}),
        (_chat(seed=1), {}),
        (_chat(top_p=0.5), {}),
        (_chat(field_of_tomorrow=1), {}),
        ({"prompt": TEXT}, {"operation": "text_completion"}),
    ],
)
def test_all_but_the_text_has_to_be_equal(body: dict[str, Any], fields: dict[str, Any]) -> None:
    """Whatever else shapes the answer makes another scope, unknown fields too."""
    other = _question(body, **fields)
    assert other.text == PLAIN.text
    assert other.scope != PLAIN.scope


def test_encoder_and_model_are_in_the_scope() -> None:
    """Vectors of two builds are never compared, nor answers of two model families."""
    request = _request(_chat())
    asked = [question_of(request, encoder=e, model=m) for e, m in ("em", "fm", "en")]
    assert len({question.scope for question in asked if isinstance(question, Question)}) == 3


@pytest.mark.parametrize(
    "body",
    [
        _chat("How do I\n  reset my password? "),
        _chat("What is the way to a new password?"),
        _chat([{"type": "text", "text": TEXT}]),
        _chat(user="u", metadata={"a": "b"}, stream=True, top_p=None),
        {**_chat(), "model": "another name of the family"},
    ],
)
def test_wording_and_delivery_are_not_in_the_scope(body: dict[str, Any]) -> None:
    """Another text, or another way to be told the answer, is compared."""
    assert _question(body).scope == PLAIN.scope


def test_temperature_counts_by_its_value() -> None:
    """However the number was written."""
    asked = [_question(_chat(temperature=t), temperature=0.0) for t in (0, 0.0)]
    assert asked[0] == asked[1]


def test_earlier_answers_are_quoted_by_hash() -> None:
    """So that what rests on a poisoned answer can be found."""
    assert _question(_chat(TEXT, *TURNS)).quotes == (answer_hash("Hello."),)


def test_one_prompt_in_an_array_is_compared() -> None:
    """As the same prompt alone is."""
    alone, listed = (
        _question({"prompt": prompt}, operation="text_completion") for prompt in (TEXT, [TEXT])
    )
    assert alone == listed
