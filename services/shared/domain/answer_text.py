"""The text of an answer, and a hash by which answers are found again as quotations."""

import hashlib
import unicodedata
from typing import Any

import msgspec

from services.shared.domain.events import Operation

_HASH_DIGITS = 16


class _Message(msgspec.Struct):
    content: Any = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    message: _Message | None = None
    text: str | None = None


class _Answer(msgspec.Struct):
    choices: list[_Choice] = []


_DECODER = msgspec.json.Decoder(_Answer)


def answer_text(operation: str, response: bytes) -> str:
    """The text of a whole answer; of several choices the first.

    Args:
        operation: ``chat`` or ``text_completion``; others have no text.
        response: The answer as OpenAI-shaped JSON.

    Returns:
        The text; empty where there is none, or the answer cannot be read.
    """
    try:
        choices = _DECODER.decode(response).choices
    except msgspec.DecodeError:  # not ours to judge: an answer without text is compared with none
        return ""
    if not choices:
        return ""
    if operation == Operation.TEXT_COMPLETION:
        return choices[0].text or ""
    message = choices[0].message
    return (content_text(message.content) or message.refusal or "") if message else ""


def content_text(content: Any) -> str:
    """The text of a message's ``content``: a string, or the text parts of an array."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = (part.get("text") for part in content if isinstance(part, dict))
    return "".join(text for text in texts if isinstance(text, str))


def answer_hash(text: str) -> str:
    """Hash of an answer's text, 16 hex digits; white space and Unicode form do not count."""
    normalised = " ".join(unicodedata.normalize("NFC", text).split())
    return hashlib.sha256(normalised.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_DIGITS]
