"""The token estimate: by script and kind of input, for all that a model reads."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.domain.admission.tokens import (
    IMAGE_TOKENS,
    LOW_DETAIL_IMAGE_TOKENS,
    MESSAGE_TOKENS,
    chat_tokens,
    has_images,
    input_tokens,
)


def chat(content: Any, **message: Any) -> dict[str, Any]:
    """A chat of one message."""
    return {"messages": [{"role": "user", "content": content, **message}]}


@pytest.mark.parametrize(
    ("character", "tokens_per_8"),
    [
        pytest.param("a", 2, id="Latin"),
        pytest.param("я", 5, id="Cyrillic"),
        pytest.param("ع", 5, id="Arabic"),
        pytest.param("好", 8, id="Chinese"),
        pytest.param("の", 8, id="Japanese"),
        pytest.param("😀", 11, id="emoji"),
    ],
)
def test_texts_of_every_script_are_estimated(character: str, tokens_per_8: int) -> None:
    """A character costs the more tokens, the more bytes of UTF-8 it has."""
    assert input_tokens(character * 80) == 10 * tokens_per_8
    assert input_tokens("a" * 40 + character * 40) == 10 + 5 * tokens_per_8


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(None, 0, id="no-prompt"),
        pytest.param("", 0, id="empty"),
        pytest.param("a", 1, id="rounded-up"),
        pytest.param("a" * 400, 100, id="four-characters-a-token"),
        pytest.param(["a" * 4, "b" * 8], 3, id="texts"),
        pytest.param([7, 8, 9], 3, id="token-ids"),
        pytest.param([[7], [8, 9]], 3, id="arrays-of-token-ids"),
    ],
)
def test_inputs_of_every_form_are_counted(value: Any, expected: int) -> None:
    """Token ids are counted exactly, texts by their length."""
    assert input_tokens(value) == expected


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        pytest.param(chat(""), MESSAGE_TOKENS, id="message"),
        pytest.param(chat(None), MESSAGE_TOKENS, id="no-content"),
        pytest.param(chat("a" * 40), MESSAGE_TOKENS + 10, id="text"),
        pytest.param(chat([{"type": "text", "text": "a" * 40}]), MESSAGE_TOKENS + 10, id="part"),
        pytest.param(
            chat([{"type": "refusal", "refusal": "no!!"}]), MESSAGE_TOKENS + 1, id="refusal"
        ),
        pytest.param(
            chat([{"type": "image_url", "image_url": {"url": "u"}}]),
            MESSAGE_TOKENS + IMAGE_TOKENS,
            id="image",
        ),
        pytest.param(
            chat([{"type": "image_url", "image_url": {"url": "u", "detail": "low"}}]),
            MESSAGE_TOKENS + LOW_DETAIL_IMAGE_TOKENS,
            id="small-image",
        ),
        pytest.param(
            chat([{"type": "input_audio", "input_audio": {"data": "x" * 20_000, "format": "mp3"}}]),
            MESSAGE_TOKENS + 10,
            id="audio",
        ),
        pytest.param(
            chat([{"type": "file", "file": {"file_data": "x" * 2_000}}]),
            MESSAGE_TOKENS + 100,
            id="file",
        ),
        pytest.param(
            chat([{"type": "file", "file": {"file_id": "f"}}]), MESSAGE_TOKENS, id="file-id"
        ),
        pytest.param(chat(None, tool_calls=["x" * 36]), MESSAGE_TOKENS + 10, id="tool-calls"),
        pytest.param(chat(None, function_call="x" * 38), MESSAGE_TOKENS + 10, id="function-call"),
        pytest.param({**chat(""), "tools": ["x" * 36]}, MESSAGE_TOKENS + 10, id="tools"),
        pytest.param({**chat(""), "functions": ["x" * 36]}, MESSAGE_TOKENS + 10, id="functions"),
        pytest.param({**chat(""), "response_format": "x" * 38}, MESSAGE_TOKENS + 10, id="schema"),
    ],
)
def test_everything_the_model_reads_is_counted(document: dict[str, Any], expected: int) -> None:
    """Messages, parts, calls, tools and schemas add up."""
    assert chat_tokens(document) == expected


@given(st.text(), st.text())
def test_more_text_is_never_fewer_tokens(text: str, more: str) -> None:
    """The estimate grows with the text and is at least an eighth of its bytes."""
    assert input_tokens(text) <= input_tokens(text + more)
    assert input_tokens(text) * 8 >= len(text.encode())


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("image_url", False),
        (None, False),
        ([{"type": "text", "text": "image_url"}], False),
        ([{"type": "text", "text": ""}, {"type": "image_url", "image_url": {"url": "u"}}], True),
    ],
)
def test_images_are_seen(content: object, expected: object) -> None:
    """An image is a part of that type, not a word."""
    assert has_images({"messages": [{"role": "assistant"}, *chat(content)["messages"]]}) is expected
