"""What of a request the semantic cache compares, and what it never compares.

A request is split in two: its last text, which may be worded otherwise, and all else, which has to
be equal. Whatever is not known to be harmless belongs to the second part, unknown fields too.
"""

import hashlib
import unicodedata
from typing import Any

import msgspec

from services.cache_lookup.semantic.wording import unfit
from services.shared.domain.answer_text import answer_hash, content_text
from services.shared.domain.events import InferenceRequested, Operation
from services.shared.domain.fingerprint import canonical_request

MOST_TEMPERATURE = 0.7
"""A caller who asks for more than this wants another answer each time."""

VERSION = b"1"
"""Changed when texts are normalised or scopes are made otherwise: then old entries are unfound."""

MOST_CHARS = 600
"""Longer texts go wrong in their details, and the encoder reads no more than 128 tokens."""

_LENGTH_BYTES = 8


class Question(msgspec.Struct, frozen=True):
    """A request as it is compared.

    Attributes:
        scope: Hex SHA-256 of all that has to be equal.
        text: The question, in Unicode form NFC, white space collapsed.
        quotes: Hashes of the answers that the request quotes as earlier turns.
    """

    scope: str
    text: str
    quotes: tuple[str, ...] = ()


class NotComparable(msgspec.Struct, frozen=True):
    """A request that only its exact repetition answers.

    Attributes:
        reason: Short code.
    """

    reason: str


class _Split(msgspec.Struct, frozen=True):
    text: str
    rest: dict[str, Any]
    quotes: tuple[str, ...] = ()


def question_of(
    request: InferenceRequested, *, encoder: str, model: str
) -> Question | NotComparable:
    """Decide whether a request is compared by meaning, and what is compared.

    Args:
        request: An admitted request.
        encoder: Build of the encoder; vectors of two builds are never compared.
        model: The model family whose answers are good for this request, e.g. its alias.
    """
    reason = _kind_unfit(request)
    if reason:
        return NotComparable(reason)
    document: dict[str, Any] = msgspec.json.decode(request.body)
    split = _split(request.operation, document)
    if isinstance(split, NotComparable):
        return split
    text = " ".join(unicodedata.normalize("NFC", split.text).split())
    reason = "too_long" if len(text) > MOST_CHARS else unfit(split.text, text)
    if reason:
        return NotComparable(reason)
    return Question(_scope(request, split.rest, encoder=encoder, model=model), text, split.quotes)


def _kind_unfit(request: InferenceRequested) -> str:
    checks = (
        (request.operation not in {Operation.CHAT, Operation.TEXT_COMPLETION}, "operation"),
        (request.cache_policy.no_semantic, "caller"),
        (request.has_tools, "tools"),
        (request.has_images, "images"),
        (request.choice_count > 1, "choices"),
        ((request.temperature or 0.0) > MOST_TEMPERATURE, "temperature"),
    )
    return next((reason for holds, reason in checks if holds), "")


def _split(operation: str, document: dict[str, Any]) -> _Split | NotComparable:
    if _is_set(document, "logprobs", "top_logprobs"):
        return NotComparable("logprobs")
    if _is_set(document, "tools", "functions", "web_search_options"):
        return NotComparable("tools")
    if _is_set(document, "audio", "prediction", "suffix", "echo"):
        return NotComparable("field")
    if operation == Operation.CHAT:
        return _split_chat(document)
    return _split_completion(document)


def _is_set(document: dict[str, Any], *fields: str) -> bool:
    values = (document.get(field) for field in fields)
    return any(value not in (None, [], "") and value is not False for value in values)


def _split_completion(document: dict[str, Any]) -> _Split | NotComparable:
    prompt = document.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        return NotComparable("prompts")
    return _Split(prompt, {**document, "prompt": ""})


def _split_chat(document: dict[str, Any]) -> _Split | NotComparable:
    messages = document["messages"]
    last = messages[-1]
    if last["role"] != "user":
        return NotComparable("last_turn")
    if any(not _is_text(message) for message in messages):
        return NotComparable("content")
    blank = {**last, "content": ""}
    quotes = tuple(
        answer_hash(text)
        for message in messages
        if message["role"] == "assistant" and (text := content_text(message.get("content")))
    )
    rest = {**document, "messages": [*messages[:-1], blank]}
    return _Split(content_text(last.get("content")), rest, quotes)


def _is_text(message: dict[str, Any]) -> bool:
    """Whether a turn is text alone: no image, sound, file, tool call or tool's answer."""
    if message["role"] in {"tool", "function"} or _is_set(
        message, "tool_calls", "function_call", "audio"
    ):
        return False
    content = message.get("content")
    return not isinstance(content, list) or all(part["type"] == "text" for part in content)


def _scope(request: InferenceRequested, rest: dict[str, Any], *, encoder: str, model: str) -> str:
    """Hash all that has to be equal; each part has its length before it.

    A field that is null says no more than one that is absent. The body's own ``model`` is replaced
    by the family, and the temperature by its value, however it is written.
    """
    document = {
        key: value
        for key, value in rest.items()
        if value is not None and key not in {"model", "temperature"}
    }
    parts = (
        VERSION,
        request.tenant.encode(),
        request.cache_policy.namespace.encode(),
        request.operation.encode(),
        model.encode(),
        encoder.encode(),
        b"" if request.temperature is None else f"{request.temperature:g}".encode(),
        canonical_request(document),
    )
    framed = b"".join(len(part).to_bytes(_LENGTH_BYTES, "big") + part for part in parts)
    return hashlib.sha256(framed).hexdigest()
