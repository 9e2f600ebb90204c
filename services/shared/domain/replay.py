"""A kept answer as a caller gets it: under the request's own id, whole or as a stream. Pure."""

from typing import Any

import msgspec

from services.shared.domain.events import InferenceRequested, Operation
from services.shared.domain.ids import object_id

_PREFIXES = {Operation.CHAT: "chatcmpl", Operation.TEXT_COMPLETION: "cmpl"}
_CHUNK_OBJECTS = {
    Operation.CHAT: "chat.completion.chunk",
    Operation.TEXT_COMPLETION: "text_completion",
}
PIECE_CHARACTERS = 200
"""Characters of a replayed stream's pieces."""


def whole_response(request: InferenceRequested, response: bytes) -> bytes:
    """The kept answer under this request's id."""
    operation = Operation(request.operation)
    if operation is Operation.EMBEDDINGS:
        return response
    fields = msgspec.json.decode(response, type=dict[str, msgspec.Raw])
    identity = object_id(_PREFIXES[operation], request.request_id)
    fields["id"] = msgspec.Raw(msgspec.json.encode(identity))
    return msgspec.json.encode(fields)


def replayed_stream(request: InferenceRequested, response: bytes) -> bytes:
    """The kept answer as the fragments of a stream, separated by line feeds."""
    operation = Operation(request.operation)
    document = msgspec.json.decode(response)
    frame = {name: value for name, value in document.items() if name not in {"choices", "usage"}}
    frame["id"] = object_id(_PREFIXES[operation], request.request_id)
    frame["object"] = _CHUNK_OBJECTS[operation]
    if request.include_usage:
        frame["usage"] = None
    fragments = []
    for choice in document["choices"]:
        pieces = _chat_pieces(choice) if operation is Operation.CHAT else _text_pieces(choice)
        fragments += [{**frame, "choices": [piece]} for piece in pieces]
    if request.include_usage:
        fragments.append({**frame, "choices": [], "usage": document.get("usage")})
    return b"\n".join(map(msgspec.json.encode, fragments))


def _chat_pieces(choice: dict[str, Any]) -> list[dict[str, Any]]:
    index = choice.get("index", 0)
    message = {k: v for k, v in choice["message"].items() if v is not None}
    text = message.pop("content", None)
    role = message.pop("role", "assistant")
    opening = {"role": role, "content": None if text is None else ""}
    if calls := message.pop("tool_calls", None):
        message["tool_calls"] = [{"index": i, **call} for i, call in enumerate(calls)]
    deltas = [opening]
    if message:
        deltas.append(message)
    deltas += [{"content": piece} for piece in _cut(text)]
    pieces = [{"index": index, "delta": delta, "finish_reason": None} for delta in deltas]
    if choice.get("logprobs") is not None:
        pieces[-1]["logprobs"] = choice["logprobs"]
    pieces.append({"index": index, "delta": {}, "finish_reason": choice["finish_reason"]})
    return pieces


def _text_pieces(choice: dict[str, Any]) -> list[dict[str, Any]]:
    index = choice.get("index", 0)
    pieces = [
        {"index": index, "text": piece, "finish_reason": None, "logprobs": None}
        for piece in _cut(choice.get("text"))
    ]
    ending = {"index": index, "text": "", "finish_reason": choice["finish_reason"]}
    return [*pieces, {**ending, "logprobs": choice.get("logprobs")}]


def _cut(text: str | None) -> list[str]:
    if not text:
        return []
    return [text[i : i + PIECE_CHARACTERS] for i in range(0, len(text), PIECE_CHARACTERS)]
