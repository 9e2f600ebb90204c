"""What of a request is scored."""

import json

import pytest

from services.shared.domain.complexity.prompt import prompt_text, shortened, without_harness
from services.shared.domain.events import InferenceRequested, Operation


def _request(body: object, operation: Operation = Operation.CHAT) -> InferenceRequested:
    return InferenceRequested(request_id="r", operation=operation, body=json.dumps(body).encode())


def test_the_last_message_of_the_user_is_scored() -> None:
    """Not the system's, an earlier one, the assistant's or a tool's."""
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "user", "content": "second"},
        {"role": "tool", "content": "a table"},
    ]
    assert prompt_text(_request({"messages": messages})) == "second"


def test_text_parts_count_and_images_do_not() -> None:
    """Parts of other kinds have no text."""
    parts = [
        {"type": "text", "text": "What is"},
        {"type": "image_url", "image_url": {"url": "data:"}},
        {"type": "text", "text": "this?"},
    ]
    assert prompt_text(_request({"messages": [{"role": "user", "content": parts}]})) == (
        "What is\nthis?"
    )


@pytest.mark.parametrize(
    ("prompt", "text"),
    [("one", "one"), (["one", "two"], "two"), ([1, 2], ""), ([[1], [2]], ""), (None, "")],
)
def test_a_completion_has_its_prompt(prompt: object, text: str) -> None:
    """The last of several; token ids are no text."""
    assert prompt_text(_request({"prompt": prompt}, Operation.TEXT_COMPLETION)) == text


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "system", "content": "x"}]},
        {"messages": [{"role": "user", "content": None}]},
        {"messages": [{"role": "user", "content": 7}]},
        {"messages": 7},
    ],
)
def test_a_request_without_words_has_no_text(body: object) -> None:
    """Whatever shape it has: the classifier is unsure of it, nothing fails."""
    assert prompt_text(_request(body)) == ""


def test_embeddings_are_not_scored() -> None:
    """No input is harder to embed than another."""
    assert prompt_text(_request({"input": "Prove it."}, Operation.EMBEDDINGS)) == ""


def test_a_long_text_is_its_beginning_and_its_end() -> None:
    """What is asked stands there."""
    text = "a" * 2_500 + "b" * 2_500
    assert shortened(text) == "a" * 2_000 + "\n" + "b" * 1_000
    assert shortened("a" * 3_000) == "a" * 3_000


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("a<system-reminder>x</system-reminder>b<system-reminder>y</system-reminder>c", "abc"),
        ("fix it<environment_details>never closed", "fix it"),
        ("1 < 2 and <b>bold</b>", "1 < 2 and <b>bold</b>"),
    ],
)
def test_blocks_of_a_harness_are_left_out(text: str, left: str) -> None:
    """They are the same in easy and hard requests."""
    assert without_harness(text) == left
