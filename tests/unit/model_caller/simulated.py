"""The simulator's bytes, for one request whole and streamed, without its process."""

import json
from typing import Any

import msgspec

from services.model_caller.answers import StreamedAnswer
from services.model_caller.sse import SseDecoder
from services.shared.domain.events import InferenceRequested
from services.shared.domain.terminal import Answer
from services.simulator.behaviour import Operation
from services.simulator.streaming import streamed_reply
from services.simulator.wire import Identity, whole_body
from tests.support.example_events import requested
from tests.unit.simulator.asks import known, planned


def request(*, operation: str = "chat", **changes: Any) -> InferenceRequested:
    """A request whose id is known."""
    return requested(1, request_id="req_0123456789", operation=operation, **changes)


def simulated(
    model: str, *, operation: Operation = Operation.CHAT, **fields: Any
) -> tuple[bytes, bytes]:
    """The answer in one piece, and the same as a stream with its usage."""
    plan = planned(model, operation=operation, **fields)
    identity = Identity("0a1b", 1_700_000_000, operation, known(model), False)  # noqa: FBT003
    streamed = streamed_reply(plan, identity, include_usage=True)
    return whole_body(plan, identity), b"".join(data for _, data in streamed.frames)


def take_stream(answer: StreamedAnswer, stream: bytes) -> list[dict[str, Any]]:
    """Feed a stream; return the fragments that are handed on."""
    decoder = SseDecoder()
    taken = [answer.take(data) for data in (*decoder.feed(stream), *decoder.close())]
    return [json.loads(fragment) for fragment in taken if fragment is not None]


def stream_of(*chunks: object, is_done: bool = True) -> bytes:
    """A stream of these chunks."""
    events = [b"data: " + msgspec.json.encode(chunk) + b"\n\n" for chunk in chunks]
    return b"".join(events) + (b"data: [DONE]\n\n" if is_done else b"")


def chunk(*choices: object, **fields: Any) -> dict[str, Any]:
    """A chunk of a chat completion."""
    frame = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return {**frame, "choices": list(choices), **fields}


def delta(
    content: str | None = None, *, index: int = 0, finish_reason: str | None = None, **fields: Any
) -> dict[str, Any]:
    """A choice of a chunk."""
    said = {**fields} if content is None else {"content": content, **fields}
    return {"index": index, "delta": said, "finish_reason": finish_reason}


def assembled(answer: StreamedAnswer, *chunks: object) -> dict[str, Any]:
    """The document that a stream of these chunks amounts to."""
    take_stream(answer, stream_of(*chunks))
    return document_of(answer.answer())


def document_of(answer: Answer) -> dict[str, Any]:
    """The document of an answer."""
    document: dict[str, Any] = json.loads(answer.response)
    return document
