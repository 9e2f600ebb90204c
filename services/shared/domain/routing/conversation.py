"""Which conversation a request belongs to, where its alias holds conversations at a target."""

import hashlib

import msgspec

from services.shared.domain.events import InferenceRequested, Operation

_OPENING_ROLES = frozenset({"system", "developer"})
_KEY_BYTES = 8


class _Message(msgspec.Struct, frozen=True):
    role: str = ""
    content: msgspec.Raw = msgspec.Raw(b"")


class _Body(msgspec.Struct, frozen=True):
    messages: tuple[_Message, ...] = ()


_DECODER = msgspec.json.Decoder(_Body)


def conversation_key(request: InferenceRequested) -> str:
    """Key of a request's conversation, of its tenant and alias; empty = it belongs to none.

    A chat that names no conversation is known by its beginning: what comes before the first
    message of the user, and that message. Equal beginnings share a key, and a prompt cache, too.
    """
    if request.conversation_id:
        return _hashed(request, b"id", request.conversation_id.encode())
    if request.operation != Operation.CHAT:
        return ""
    try:
        messages = _DECODER.decode(request.body).messages
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    opening: list[bytes] = []
    for message in messages:
        opening.append(bytes(message.content))
        if message.role not in _OPENING_ROLES:
            return _hashed(request, b"opening", *opening)
    return ""


def _hashed(request: InferenceRequested, *parts: bytes) -> str:
    digest = hashlib.blake2b(digest_size=_KEY_BYTES)
    for part in (request.tenant.encode(), request.model.encode(), *parts):
        digest.update(len(part).to_bytes(4, "big"))
        digest.update(part)
    return digest.hexdigest()
