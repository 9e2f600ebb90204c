"""Answers that come in one piece."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.model_caller.answers import Malformed, ProviderError, error_of, whole_answer
from services.shared.domain.money import Usage
from tests.unit.model_caller.simulated import document_of, request

USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
CHOICE = {"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}
GOOD = {"id": "x", "model": "m", "choices": [CHOICE], "usage": USAGE, "new": {"b": [1]}}


def encoded(**changes: Any) -> bytes:
    """The good answer with changes."""
    return msgspec.json.encode({**GOOD, **changes})


def test_an_answer_is_handed_on_under_our_id() -> None:
    """Everything else stays, unknown fields too; usage, reason and model are read."""
    answer = whole_answer(request(), encoded(error=None))
    assert document_of(answer) == {**GOOD, "id": "chatcmpl-0123456789", "error": None}
    assert answer.usage == Usage(input_tokens=7, output_tokens=3)
    assert (answer.finish_reason, answer.response_model) == ("stop", "m")
    completion = whole_answer(request(operation="text_completion"), encoded())
    assert document_of(completion)["id"] == "cmpl-0123456789"


@pytest.mark.parametrize("model", [None, ""])
def test_a_provider_need_not_name_its_model(model: object) -> None:
    """The model is evidence, no condition."""
    assert whole_answer(request(), encoded(model=model)).response_model == ""


DEEP = b"[" * 100_000
BAD_ANSWERS = [
    b"",
    b"{",
    b"null",
    b"[]",
    b"{}",
    b"data: {}\n\n",
    DEEP,
    b'{"choices":' + DEEP,
    encoded(choices=None),
    encoded(choices=[]),
    encoded(choices={}),
    encoded(choices=[5]),
    encoded(choices=[{**CHOICE, "finish_reason": None}]),
    encoded(choices=[{**CHOICE, "finish_reason": ""}]),
    encoded(choices=[{**CHOICE, "finish_reason": 5}]),
    encoded(choices=[CHOICE, {"index": 1}]),
    encoded(model=5),
    encoded()[:-2],
    encoded().replace(b'"a"', b'"\xff"'),
    encoded().replace(b'"a"', b'"\\ud800"'),
    encoded().replace(b'"a"', b"NaN"),
]


@pytest.mark.parametrize("body", BAD_ANSWERS, ids=lambda body: repr(body[:60]))
def test_what_is_no_answer_is_malformed(body: bytes) -> None:
    """Half an answer, an answer that is not said to have ended, and bytes that are none."""
    with pytest.raises(Malformed):
        whole_answer(request(), body)


def test_an_error_in_the_place_of_an_answer_is_the_provider_s() -> None:
    """Some answer 200 and mean an error."""
    with pytest.raises(ProviderError) as raised:
        whole_answer(request(), encoded(error={"code": "c", "message": "m", "param": "p"}))
    error = raised.value
    assert (error.code, error.message, error.param) == ("c", "m", "p")


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_an_answer_or_an_error(body: bytes) -> None:
    """Nothing else is raised, whatever comes."""
    with pytest.raises((Malformed, ProviderError)):
        whole_answer(request(), body)
    assert len(error_of(body).message) <= 300


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(b'{"error":{"code":"c","message":"m","param":"p"}}', ("c", "m", "p"), id="it"),
        pytest.param(
            b'{"error":{"code":null,"param":null,"message":"m"}}', ("", "m", ""), id="null"
        ),
        pytest.param(b'{"message":"m"}', ("", None, ""), id="no_error"),
        pytest.param(b"[1]", ("", None, ""), id="no_object"),
        pytest.param(b"<html>", ("", None, ""), id="no_json"),
        pytest.param(b"\xff", ("", None, ""), id="no_text"),
        pytest.param(DEEP, ("", None, ""), id="deep"),
        pytest.param(b'{"error":"m"}', ("", None, ""), id="text"),
    ],
)
def test_error_answers_are_read_as_far_as_they_can_be(
    body: bytes, expected: tuple[str, str | None, str]
) -> None:
    """Code, message and field, or a message of ours."""
    error = error_of(body)
    code, message, param = expected
    assert (error.code, error.param) == (code, param)
    assert error.message == (message or "The provider reported an error.")


def test_long_words_of_a_provider_are_cut() -> None:
    """An error message is bounded, and so are the names in it."""
    long = "x" * 10_000
    error = error_of(json.dumps({"error": {"code": long, "message": long, "param": long}}).encode())
    assert (len(error.code), len(error.message), len(error.param)) == (64, 300, 128)
