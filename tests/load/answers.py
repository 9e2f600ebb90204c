"""Reads answers in OpenAI's wire format and says what is wrong with them."""

from collections.abc import Callable
from typing import Annotated, Literal, Protocol

import msgspec

from tests.load.distribution import Distribution
from tests.load.plan import Operation

JSON = b"application/json"
EVENTS = b"text/event-stream"

_DATA = b"data: "
_DONE = b"[DONE]"
_MS_PER_S = 1000.0


class Fault(msgspec.Struct, frozen=True):
    """What is wrong with an answer.

    Attributes:
        kind: For counting.
        detail: For people.
    """

    kind: str
    detail: str = ""


class _Usage(msgspec.Struct):
    prompt_tokens: Annotated[int, msgspec.Meta(ge=1)]
    total_tokens: Annotated[int, msgspec.Meta(ge=1)]


class _Message(msgspec.Struct):
    role: Literal["assistant"]
    content: Annotated[str, msgspec.Meta(min_length=1)]


class _Choice(msgspec.Struct):
    index: Literal[0]
    message: _Message
    finish_reason: Literal["stop", "length"]


class _ChatCompletion(msgspec.Struct):
    id: str
    object: Literal["chat.completion"]
    choices: Annotated[list[_Choice], msgspec.Meta(min_length=1, max_length=1)]
    usage: _Usage


class _Embedding(msgspec.Struct):
    index: Literal[0]
    object: Literal["embedding"]
    embedding: Annotated[str, msgspec.Meta(min_length=4)]


class _EmbeddingList(msgspec.Struct):
    object: Literal["list"]
    data: Annotated[list[_Embedding], msgspec.Meta(min_length=1, max_length=1)]
    usage: _Usage


class _Delta(msgspec.Struct):
    content: str | None = None


class _ChunkChoice(msgspec.Struct):
    index: Literal[0]
    delta: _Delta
    finish_reason: Literal["stop", "length"] | None = None


class _Chunk(msgspec.Struct):
    id: str
    object: Literal["chat.completion.chunk"]
    choices: Annotated[list[_ChunkChoice], msgspec.Meta(max_length=1)]
    usage: _Usage | None = None


class _Error(msgspec.Struct):
    message: str
    type: str | None = None
    code: str | int | None = None


class _ErrorDocument(msgspec.Struct):
    error: _Error


_decode_chat = msgspec.json.Decoder(_ChatCompletion).decode
_decode_embeddings = msgspec.json.Decoder(_EmbeddingList).decode
_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_decode_error = msgspec.json.Decoder(_ErrorDocument).decode


class Answer(Protocol):
    """An answer while it arrives.

    Attributes:
        content_type: What it must be.
        events: Pieces with content so far.
        first_token_s: When the first of them arrived; None = none did.
    """

    content_type: bytes
    events: int
    first_token_s: float | None

    def feed(self, data: bytes, now_s: float) -> None:
        """Take more of the body."""

    def fault(self) -> Fault | None:
        """Judge the whole, after its end."""

    def error_fault(self, status: int) -> Fault:
        """Describe the body as that of a refusal."""


class WholeAnswer:
    """An answer in one piece."""

    __slots__ = ("_decode", "_parts", "content_type", "events", "first_token_s")

    def __init__(self, operation: Operation) -> None:
        """Expect the answer to this operation."""
        self.content_type = JSON
        self.events = 0
        self.first_token_s: float | None = None
        self._parts: list[bytes] = []
        decoders: dict[Operation, Callable[[bytes], object]] = {
            Operation.CHAT: _decode_chat,
            Operation.EMBEDDINGS: _decode_embeddings,
        }
        self._decode = decoders[operation]

    def feed(self, data: bytes, now_s: float) -> None:
        """Take more of the body."""
        self._parts.append(data)

    def fault(self) -> Fault | None:
        """Judge the whole."""
        body = b"".join(self._parts)
        try:
            self._decode(body)
        except msgspec.ValidationError as error:
            return Fault("wrong shape", str(error))
        except msgspec.DecodeError as error:
            return Fault("not JSON", str(error))
        return None

    def error_fault(self, status: int) -> Fault:
        """Describe the body as that of a refusal."""
        return _refusal(status, b"".join(self._parts))


class StreamedAnswer:
    """A stream of chat chunks."""

    __slots__ = (
        "_fault", "_finish_reason", "_gaps", "_has_usage", "_id", "_is_done", "_last_s", "_rest",
        "content_type", "events", "first_token_s",
    )  # fmt: skip

    def __init__(self, gaps: Distribution) -> None:
        """Count the times between tokens there."""
        self.content_type = EVENTS
        self.events = 0
        self.first_token_s: float | None = None
        self._gaps = gaps
        self._last_s = 0.0
        self._rest = b""
        self._id = ""
        self._finish_reason: str | None = None
        self._has_usage = False
        self._is_done = False
        self._fault: Fault | None = None

    def feed(self, data: bytes, now_s: float) -> None:
        """Take more of the body: whole events are judged, a part is kept."""
        *events, self._rest = (self._rest + data).split(b"\n\n")
        for event in events:
            if event.startswith(_DATA) and b"\n" not in event:
                self._take(event[len(_DATA) :], now_s)
            else:
                self._take_lines(event, now_s)

    def fault(self) -> Fault | None:
        """Judge the whole."""
        if self._fault is not None:
            return self._fault
        missing = {
            "content": self.events > 0,
            "finish_reason": self._finish_reason is not None,
            "usage": self._has_usage,
            "[DONE]": self._is_done,
            "end of the last event": not self._rest,
        }
        absent = [name for name, is_there in missing.items() if not is_there]
        return Fault(f"no {absent[0]}", f"after {self.events} events") if absent else None

    def error_fault(self, status: int) -> Fault:
        """Describe the body as that of a refusal."""
        return _refusal(status, self._rest)

    def _take_lines(self, event: bytes, now_s: float) -> None:
        """An event with comments or other fields."""
        for line in event.split(b"\n"):
            if line.startswith(_DATA):
                self._take(line[len(_DATA) :], now_s)
            elif not line.startswith((b":", b"id:", b"event:", b"retry:")):
                self._note("not an event", repr(line[:200]))

    def _take(self, data: bytes, now_s: float) -> None:
        if self._is_done:
            self._note("event after [DONE]", repr(data[:200]))
        elif data == _DONE:
            self._is_done = True
        else:
            self._take_chunk(data, now_s)

    def _take_chunk(self, data: bytes, now_s: float) -> None:
        try:
            chunk = _decode_chunk(data)
        except msgspec.DecodeError as error:
            self._take_error(data, error)
            return
        if self._id and chunk.id != self._id:
            self._note("two ids in a stream", f"{self._id} and {chunk.id}")
        self._id = chunk.id
        self._has_usage = self._has_usage or chunk.usage is not None
        for choice in chunk.choices:
            self._take_choice(choice, now_s)

    def _take_choice(self, choice: _ChunkChoice, now_s: float) -> None:
        if self._finish_reason is not None:
            self._note("choice after finish_reason", repr(choice))
        self._finish_reason = choice.finish_reason
        if not choice.delta.content:
            return
        self.events += 1
        if self.first_token_s is None:
            self.first_token_s = now_s
        else:
            self._gaps.record((now_s - self._last_s) * _MS_PER_S)
        self._last_s = now_s

    def _take_error(self, data: bytes, error: msgspec.DecodeError) -> None:
        try:
            sent = _decode_error(data).error
        except msgspec.DecodeError:
            self._note("wrong chunk", f"{error}: {data[:200]!r}")
        else:
            self._note(f"error event {sent.code or sent.type}", sent.message)

    def _note(self, kind: str, detail: str) -> None:
        """Only the first fault counts: others follow from it."""
        if self._fault is None:
            self._fault = Fault(kind, detail)


def _refusal(status: int, body: bytes) -> Fault:
    try:
        error = _decode_error(body).error
    except msgspec.DecodeError:
        return Fault(f"{status} without an error object", repr(body[:200]))
    return Fault(f"{status} {error.code or error.type}", error.message)
