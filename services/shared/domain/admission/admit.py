"""Admission: from the bytes of a body to a request that the pipeline may carry, or to the error."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from services.shared.domain.admission.cache_policy import body_cache_policy
from services.shared.domain.admission.chat import CHAT
from services.shared.domain.admission.embeddings import EMBEDDINGS
from services.shared.domain.admission.faults import public_error
from services.shared.domain.admission.form import Form, form_fault
from services.shared.domain.admission.limits import Limits
from services.shared.domain.admission.strict_json import JsonObject, parse_object
from services.shared.domain.admission.text_completion import TEXT_COMPLETION, choice_count
from services.shared.domain.admission.tokens import chat_tokens, has_images, input_tokens
from services.shared.domain.errors import PublicError
from services.shared.domain.events import CachePolicy, Operation
from services.shared.domain.fingerprint import canonical_request

FORMS: Mapping[Operation, Form] = {
    Operation.CHAT: CHAT,
    Operation.TEXT_COMPLETION: TEXT_COMPLETION,
    Operation.EMBEDDINGS: EMBEDDINGS,
}


class Admitted(msgspec.Struct, frozen=True, kw_only=True):
    """A body that may enter the pipeline, and what processors decide on.

    Attributes:
        operation: What is asked.
        body: The bytes as received.
        document: The body, decoded; whole numbers are ``int``. Not to be changed.
        canonical: What of the body shapes the answer, in the form that is hashed.
        model: Model alias asked for.
        stream: Whether the answer is streamed.
        include_usage: Whether the stream ends with a usage chunk.
        estimated_input_tokens: See ``services.shared.domain.admission.tokens``.
        max_output_tokens: Cap on output tokens; 0 = none.
        temperature: Sampling temperature; None = the model's default.
        choice_count: Choices that the answer will hold.
        has_tools: Whether tools or functions are offered.
        has_images: Whether the input holds images.
        has_response_format: Whether JSON or a schema is demanded.
        user: The caller's end user; empty = none.
        cache_policy: What the body lets the cache do; headers come on top.
    """

    operation: Operation
    body: bytes
    document: JsonObject
    canonical: bytes
    model: str
    stream: bool = False
    include_usage: bool = False
    estimated_input_tokens: int = 0
    max_output_tokens: int = 0
    temperature: float | None = None
    choice_count: int = 1
    has_tools: bool = False
    has_images: bool = False
    has_response_format: bool = False
    user: str = ""
    cache_policy: CachePolicy = CachePolicy()


def admit(operation: Operation, body: bytes, *, limits: Limits) -> Admitted | PublicError:
    """Admit a body or say why not.

    Whether the model exists, and whether the input fits its context window, is decided elsewhere.
    """
    document = parse_object(body, max_bytes=limits.max_body_bytes)
    if isinstance(document, PublicError):
        return document
    fault = form_fault(FORMS[operation], document)
    if fault is not None:
        return public_error(fault)
    return Admitted(
        operation=operation,
        body=body,
        document=document,
        canonical=canonical_request(document),
        model=document["model"],
        user=document.get("user") or "",
        cache_policy=body_cache_policy(document),
        **_EXTRACTORS[operation](document),
    )


def _chat(document: JsonObject) -> dict[str, Any]:
    response_format = document.get("response_format") or {}
    return {
        **_generation(document),
        "estimated_input_tokens": chat_tokens(document),
        "max_output_tokens": document.get("max_completion_tokens")
        or document.get("max_tokens")
        or 0,
        "choice_count": document.get("n") or 1,
        "has_tools": bool(document.get("tools") or document.get("functions")),
        "has_images": has_images(document),
        "has_response_format": response_format.get("type", "text") != "text",
    }


def _text_completion(document: JsonObject) -> dict[str, Any]:
    return {
        **_generation(document),
        "estimated_input_tokens": input_tokens(document.get("prompt")),
        "max_output_tokens": document.get("max_tokens") or 0,
        "choice_count": choice_count(document),
    }


def _embeddings(document: JsonObject) -> dict[str, Any]:
    return {"estimated_input_tokens": input_tokens(document["input"])}


def _generation(document: JsonObject) -> dict[str, Any]:
    """What chats and text completions have in common."""
    options = document.get("stream_options") or {}
    temperature = document.get("temperature")
    return {
        "stream": document.get("stream") is True,
        "include_usage": options.get("include_usage") is True,
        "temperature": None if temperature is None else float(temperature),
    }


_EXTRACTORS: Mapping[Operation, Callable[[JsonObject], dict[str, Any]]] = {
    Operation.CHAT: _chat,
    Operation.TEXT_COMPLETION: _text_completion,
    Operation.EMBEDDINGS: _embeddings,
}
