"""What an embeddings request may ask of the local models."""

import json

import pytest

from services.local_models.decide import (
    MOST_CHARACTERS,
    MOST_INPUTS,
    EmbeddingRequest,
    objection_to_lengths,
    request_from_body,
    unknown_model,
)
from services.shared.domain.errors import PublicError


def body(**fields: object) -> bytes:
    """A request for ``minilm``, with other fields."""
    return json.dumps({"model": "minilm", "input": "hello", **fields}).encode()


def test_one_text_is_a_list_of_one() -> None:
    """OpenAI takes both."""
    request = request_from_body(body())
    assert isinstance(request, EmbeddingRequest)
    assert request.texts == ("hello",)
    assert request.encoding_format == "float"


def test_texts_keep_their_order_and_unknown_fields_are_left_out() -> None:
    """``user`` and the like change nothing here."""
    asked = body(input=["b", "a"], encoding_format="base64", dimensions=384, user="someone")
    request = request_from_body(asked)
    assert isinstance(request, EmbeddingRequest)
    assert request.texts == ("b", "a")
    assert request.encoding_format == "base64"


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (b"", "json_invalid"),
        (b"{", "json_invalid"),
        (b'{"x":' + b"[" * 100_000, "json_invalid"),
        (b"[]", "invalid_type"),
        (b"{}", "invalid_type"),
        (body(input=[1, 2]), "invalid_type"),
        (body(input=[[1, 2]]), "invalid_type"),
        (body(encoding_format="int8"), "invalid_type"),
        (body(model="other"), "model_not_found"),
        (body(dimensions=256), "unsupported_value"),
        (body(input=""), "invalid_value"),
        (body(input=[]), "invalid_value"),
        (body(input=["a", ""]), "invalid_value"),
        (body(input=["a"] * (MOST_INPUTS + 1)), "invalid_value"),
        (body(input=["a", "a " * MOST_CHARACTERS]), "context_length_exceeded"),
    ],
)
def test_what_cannot_be_answered_has_openais_error(asked: bytes, code: str) -> None:
    """Each refusal names what is wrong, and says nothing of the text."""
    refused = request_from_body(asked)
    assert isinstance(refused, PublicError)
    assert refused.code == code
    assert 400 <= refused.meaning.status < 500


def test_a_refusal_holds_little_of_the_body() -> None:
    """Whatever stands where a word is expected is not handed back whole."""
    refused = request_from_body(body(encoding_format="x" * 10_000))
    assert isinstance(refused, PublicError)
    assert "x" * 65 not in refused.message


def test_the_first_input_that_would_be_cut_off_is_named() -> None:
    """A vector of a part of a text would be taken for that of the text."""
    assert objection_to_lengths([3, 256]) is None
    refused = objection_to_lengths([3, 257, 300])
    assert refused is not None
    assert refused.code == "context_length_exceeded"
    assert "input[1]" in refused.message


def test_an_unknown_model_is_answered_with_the_known_one() -> None:
    """The message helps."""
    assert "minilm" in unknown_model().message
