"""A provider of models in memory that answers by script: whole, streamed, late, broken or never.

``ScriptedProvider`` takes a function from what is asked to a ``Script``, or a list of scripts that
are played in turn, the last one again and again. It keeps what it was asked.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any

import msgspec

from services.shared.ports.model_provider import UpstreamFailed

Frame = bytes | float | Exception
"""Bytes to send, seconds to wait, or what to raise."""

FOREVER = 1e9


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """An answer.

    Attributes:
        status: HTTP status.
        headers: HTTP headers.
        before: What happens before the headers arrive.
        frames: The body.
    """

    status: int = 200
    headers: Mapping[str, str] = MappingProxyType({"content-type": "application/json"})
    before: Sequence[Frame] = ()
    frames: Sequence[Frame] = ()


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A call that was made.

    Attributes:
        path: Below the base URL.
        body: The JSON.
        headers: Those that the caller gave.
        at_s: When, on the event loop's clock.
    """

    path: str
    body: dict[str, Any]
    headers: Mapping[str, str]
    at_s: float


Play = Callable[[Asked], Script]


class ScriptedProvider:
    """A ``ModelProvider``.

    Attributes:
        asked: The calls made.
        in_flight: Calls that are being answered.
        most_in_flight: The most there were at once.
    """

    def __init__(self, scripts: Play | Sequence[Script]) -> None:
        """Play these."""
        self._play: Play = scripts if callable(scripts) else _in_turn(scripts)
        self.asked: list[Asked] = []
        self.in_flight = 0
        self.most_in_flight = 0

    @asynccontextmanager
    async def call(
        self, path: str, *, body: bytes, headers: Mapping[str, str]
    ) -> AsyncIterator["ScriptedAnswer"]:
        """See ``ModelProvider``."""
        at_s = asyncio.get_running_loop().time()
        asked = Asked(path=path, body=json.loads(body), headers=dict(headers), at_s=at_s)
        self.asked.append(asked)
        script = self._play(asked)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            async for _ in _played(script.before):
                pass
            yield ScriptedAnswer(script)
        finally:
            self.in_flight -= 1


class ScriptedAnswer:
    """An ``UpstreamAnswer``."""

    def __init__(self, script: Script) -> None:
        """Answer by script."""
        self.status = script.status
        self.headers = script.headers
        self._frames = script.frames

    async def read(self, *, max_bytes: int) -> bytes:
        """See ``UpstreamAnswer``."""
        body = b"".join([piece async for piece in self.pieces()])
        if len(body) > max_bytes:
            raise UpstreamFailed("provider_malformed", f"more than {max_bytes} bytes")
        return body

    async def pieces(self) -> AsyncIterator[bytes]:
        """See ``UpstreamAnswer``."""
        async for piece in _played(self._frames):
            yield piece


async def _played(frames: Sequence[Frame]) -> AsyncIterator[bytes]:
    for frame in frames:
        match frame:
            case bytes():
                yield frame
            case Exception():
                raise frame
            case _:
                await asyncio.sleep(frame)


def _in_turn(scripts: Sequence[Script]) -> Play:
    left = list(scripts)

    def play(_asked: Asked) -> Script:
        return left.pop(0) if len(left) > 1 else left[0]

    return play


# -- answers as OpenAI writes them -----------------------------------------------------------------


def whole(text: str = "Deep.", *, frames: Sequence[Frame] = (), **fields: Any) -> Script:
    """A chat completion; ``frames`` come before its body."""
    message = {"role": "assistant", "content": text, "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
    document = {
        "id": "up-1",
        "object": "chat.completion",
        "created": 1,
        "model": "up-model",
        "choices": [choice],
        "usage": usage,
        **fields,
    }
    return Script(
        headers={"content-type": "application/json", "x-request-id": "up-req"},
        frames=(*frames, msgspec.json.encode(document)),
    )


def sse(document: object) -> bytes:
    """One server-sent event."""
    return b"data: " + msgspec.json.encode(document) + b"\n\n"


def piece(text: str | None = None, *, finish_reason: str | None = None) -> bytes:
    """One event of a chat stream."""
    delta = {} if text is None else {"content": text}
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
    frame = {"id": "up-1", "object": "chat.completion.chunk", "created": 1, "model": "up-model"}
    return sse({**frame, "choices": [choice]})


USAGE_EVENT = sse(
    {
        "id": "up-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "up-model",
        "choices": [],
        "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
    }
)
DONE = b"data: [DONE]\n\n"
ENDING: tuple[Frame, ...] = (piece(finish_reason="stop"), USAGE_EVENT, DONE)


def streamed(*frames: Frame) -> Script:
    """A stream of these frames."""
    return Script(
        headers={"content-type": "text/event-stream; charset=utf-8", "x-request-id": "up-req"},
        frames=frames,
    )


def answered(asked: Asked) -> Script:
    """The same answer to everything, streamed where a stream is asked for; embeddings too."""
    if asked.path == "/embeddings":
        return embedded(asked)
    return streamed(piece("De"), piece("ep."), *ENDING) if asked.body.get("stream") else whole()


def embedded(asked: Asked) -> Script:
    """An embedding of each input: its text or tokens as one number."""
    inputs = asked.body["input"]
    if isinstance(inputs, str) or isinstance(inputs[0], int):
        inputs = [inputs]
    data = [
        {"object": "embedding", "index": i, "embedding": [float(len(str(one)))]}
        for i, one in enumerate(inputs)
    ]
    usage = {"prompt_tokens": 3 * len(inputs), "total_tokens": 3 * len(inputs)}
    document = {"object": "list", "data": data, "model": "up-embed", "usage": usage}
    return Script(frames=(msgspec.json.encode(document),))


def refused(
    status: int, *, code: str | None = None, message: str = "No.", **headers: str
) -> Script:
    """An error answer; underscores in names of headers stand for hyphens."""
    error = {"error": {"message": message, "type": "x", "param": None, "code": code}}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Script(
        status=status,
        headers={"content-type": "application/json", **named},
        frames=(msgspec.json.encode(error),),
    )
