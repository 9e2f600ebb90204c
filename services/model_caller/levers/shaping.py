"""The body that goes upstream in place of the caller's. Pure."""

from collections.abc import Mapping
from typing import Any

import msgspec

from services.model_caller.levers.caps import Cap
from services.model_caller.levers.compaction import Saved, compact_messages
from services.shared.domain.events import Operation

MAX_QUOTED_CHARS = 16_000
"""Of an answer that is shown to the model again."""

_AS_THEY_ARE = dict[str, msgspec.Raw]
_ASK_AGAIN = (
    "Your last answer cannot be used: {fault}. Answer again, with nothing but the JSON that was "
    "asked for: no explanation, no code fence."
)


def capped(body: bytes, operation: str, cap: Cap) -> bytes:
    """A body with this cap, in the field that the caller used, else in the operation's own."""
    fields = msgspec.json.decode(body, type=_AS_THEY_ARE)
    usual = "max_completion_tokens" if operation == Operation.CHAT else "max_tokens"
    fields[_field_used(fields) or usual] = msgspec.Raw(str(cap.max_tokens).encode())
    return msgspec.json.encode(fields)


def compacted(body: bytes) -> tuple[bytes, Saved]:
    """A chat body with compacted prompts; what is not touched stays as it is written."""
    fields = msgspec.json.decode(body, type=_AS_THEY_ARE)
    messages: list[dict[str, Any]] = msgspec.json.decode(fields.get("messages", b"[]"))
    saved = compact_messages(messages)
    if not saved.blanks and not saved.repeats:
        return body, saved
    fields["messages"] = msgspec.Raw(msgspec.json.encode(messages))
    return msgspec.json.encode(fields), saved


def asking_again(body: bytes, document: Mapping[str, Any], fault: str) -> bytes:
    """A chat body that shows the model its own answer, and says what is wrong with it."""
    fields = msgspec.json.decode(body, type=_AS_THEY_ARE)
    messages = msgspec.json.decode(fields["messages"], type=list[msgspec.Raw])
    said = document["choices"][0].get("message", {}).get("content")
    turns = (
        {"role": "assistant", "content": str(said or "")[:MAX_QUOTED_CHARS]},
        {"role": "user", "content": _ASK_AGAIN.format(fault=fault)},
    )
    messages += [msgspec.Raw(msgspec.json.encode(turn)) for turn in turns]
    fields["messages"] = msgspec.Raw(msgspec.json.encode(messages))
    return msgspec.json.encode(fields)


def _field_used(fields: Mapping[str, msgspec.Raw]) -> str | None:
    for name in ("max_completion_tokens", "max_tokens"):
        if bytes(fields.get(name, b"null")) != b"null":
            return name
    return None
