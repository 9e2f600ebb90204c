"""The text of an answer and its hash."""

import msgspec
import pytest

from services.shared.domain.answer_text import answer_hash, answer_text, content_text


@pytest.mark.parametrize(
    ("operation", "response", "text"),
    [
        ("chat", {"choices": [{"message": {"content": "Yes."}}, {"message": {}}]}, "Yes."),
        ("chat", {"choices": [{"message": {"content": None, "refusal": "No."}}]}, "No."),
        ("chat", {"choices": [{"message": {"content": [{"type": "text", "text": "a"}]}}]}, "a"),
        ("chat", {"choices": [{"message": {}}]}, ""),
        ("chat", {"choices": [{"text": "of another operation"}]}, ""),
        ("chat", {"choices": []}, ""),
        ("text_completion", {"choices": [{"text": "Yes."}]}, "Yes."),
        ("text_completion", {"choices": [{}]}, ""),
        ("embeddings", {"data": []}, ""),
    ],
)
def test_text_is_that_of_the_first_choice(
    operation: str, response: dict[str, object], text: str
) -> None:
    """Whatever the shape of the answer, its text is found, or there is none."""
    assert answer_text(operation, msgspec.json.encode(response)) == text


def test_an_answer_that_cannot_be_read_has_no_text() -> None:
    """A broken answer is no error here."""
    assert answer_text("chat", b'{"choices": 7}') == ""


def test_content_is_the_text_of_its_parts() -> None:
    """Parts that are no text are left out, and so is what is no content at all."""
    parts = [{"type": "text", "text": "a"}, {"type": "image_url"}, "?", {"text": "b"}]
    assert content_text(parts) == "ab"
    assert content_text(7) == ""


def test_hash_ignores_white_space_and_unicode_form_alone() -> None:
    """An answer is found again where it is quoted, though its line breaks were lost."""
    assert answer_hash("caf\u00e9\n au lait ") == answer_hash("cafe\u0301 au lait")
    assert answer_hash("cafe au lait") != answer_hash("caf\u00e9 au lait")
    assert len(answer_hash("")) == 16
