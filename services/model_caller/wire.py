"""OpenAI's requests on their way to a provider."""

from typing import Any

import msgspec

from services.model_caller.prompt_marks import mark_prompt
from services.shared.domain.admission.strict_json import settled
from services.shared.domain.events import Operation

PATHS = {
    Operation.CHAT: "/chat/completions",
    Operation.TEXT_COMPLETION: "/completions",
    Operation.EMBEDDINGS: "/embeddings",
}
"""Where each operation is asked for, below a provider's base URL."""

_OWN_FIELDS = ("cache",)
_AS_THEY_ARE = dict[str, msgspec.Raw]
_STARTS_OF_NUMBERS = frozenset(b"-0123456789")


def upstream_body(body: bytes, *, model: str, stream: bool, marks_prompt: bool = False) -> bytes:
    """The caller's body as the provider gets it.

    The model is the provider's own name for it, fields that are ours are left out, and a stream
    is always asked to report its usage: the gateway has to know what it costs. A parameter that is
    a whole number is sent as an integer however it was written, as its fingerprint has it: who
    shares the call wrote it perhaps otherwise and must not be refused for it.

    Args:
        body: The caller's body, already admitted.
        model: The provider's name of the model.
        stream: Whether the answer is streamed.
        marks_prompt: Whether what is worth it is marked for the provider's prompt cache.
    """
    fields = msgspec.json.decode(body, type=_AS_THEY_ARE)
    for own in _OWN_FIELDS:
        fields.pop(own, None)
    if marks_prompt:
        mark_prompt(fields)
    for name, value in fields.items():
        if memoryview(value)[0] in _STARTS_OF_NUMBERS:
            fields[name] = _whole_as_integer(value)
    fields["model"] = msgspec.Raw(msgspec.json.encode(model))
    if stream:
        options: Any = msgspec.json.decode(fields.get("stream_options", b"null")) or {}
        fields["stream_options"] = msgspec.Raw(
            msgspec.json.encode({**options, "include_usage": True})
        )
    return msgspec.json.encode(fields)


def _whole_as_integer(raw: msgspec.Raw) -> msgspec.Raw:
    number = msgspec.json.decode(raw)
    whole = settled(number) if isinstance(number, float) else None
    return msgspec.Raw(b"%d" % whole) if isinstance(whole, int) else raw
