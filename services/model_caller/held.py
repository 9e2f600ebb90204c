"""A streamed answer that is held back until it is judged, all of it or its beginning."""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from services.model_caller.chunks import ChunkStream
from services.shared.domain.errors import PublicError

CHARS_PER_TOKEN = 4
_PIECE_CHARS = 8_000


class Withdrawn(Exception):
    """The answer is not wanted any more; its call is broken off."""


class Beginning(msgspec.Struct):
    """What of an answer has come, of its first choice.

    Attributes:
        text: Its words.
        refusal: The provider's own mark of a refusal.
        logprobs: Log probabilities of its tokens, as far as they are given.
        has_calls: Whether tools are called.
    """

    text: str = ""
    refusal: str = ""
    logprobs: list[float] = []
    has_calls: bool = False

    def take(self, fragment: bytes) -> None:
        """Add a fragment that is about to be handed on."""
        choices: list[dict[str, Any]] = msgspec.json.decode(fragment)["choices"]
        choice = choices[0] if choices else {}
        delta = choice.get("delta") or {}
        self.text += _text(delta.get("content")) or _text(choice.get("text"))
        self.refusal += _text(delta.get("refusal"))
        self.has_calls = self.has_calls or bool(delta.get("tool_calls"))
        tokens = (choice.get("logprobs") or {}).get("content") or ()
        self.logprobs += [float(it["logprob"]) for it in tokens if "logprob" in it]


class Held:
    """Takes a stream in place of the client.

    Attributes:
        fragments: What was held back, in order.
        stream: The client's stream once it was let through; None = it was not.
    """

    def __init__(
        self,
        *,
        prefix_tokens: int = 0,
        lets_through: Callable[[Beginning], bool] = lambda _: True,
        open_stream: Callable[[], ChunkStream] | None = None,
    ) -> None:
        """Hold everything back.

        Args:
            prefix_tokens: Tokens after which the stream is let through or withdrawn; 0 = never.
            lets_through: Judges the beginning.
            open_stream: Makes the client's stream, once the beginning was found good.
        """
        self.fragments: list[bytes] = []
        self.stream: ChunkStream | None = None
        self._prefix_chars = prefix_tokens * CHARS_PER_TOKEN
        self._lets_through = lets_through
        self._open_stream = open_stream
        self._beginning = Beginning()

    @property
    def is_shown(self) -> bool:
        """Whether the client has seen, or is about to see, some of it."""
        return self.stream is not None

    async def delta(self, fragment: bytes) -> None:
        """Take a piece of output.

        Raises:
            Withdrawn: The beginning is not good enough.
        """
        if self.stream is not None:
            await self.stream.delta(fragment)
            return
        self.fragments.append(fragment)
        if self._open_stream is None:
            return
        self._beginning.take(fragment)
        if len(self._beginning.text) < self._prefix_chars:
            return
        if not self._lets_through(self._beginning):
            raise Withdrawn
        self.stream = self._open_stream()
        await pour(self.fragments, self.stream)

    async def end(self, *fragments: bytes) -> None:
        """Take the last pieces."""
        if self.stream is not None:
            await self.stream.end(*fragments)
        else:
            self.fragments += fragments

    async def fail(self, error: PublicError) -> None:
        """Close the client's stream with an error, where it was let through."""
        if self.stream is not None:
            await self.stream.fail(error)

    async def acknowledged(self) -> None:
        """Wait until what the client has is durable."""
        if self.stream is not None:
            await self.stream.acknowledged()


async def pour(fragments: Iterable[bytes], stream: ChunkStream) -> None:
    """Hand on what was held back; the stream stays open."""
    for fragment in fragments:
        await stream.delta(fragment)


def fragments_of(response: bytes, *, include_usage: bool) -> list[bytes]:
    """A whole chat answer as the fragments of a stream.

    Texts are cut: clients that read line by line bound the length of a line.

    Args:
        response: The answer, OpenAI-shaped.
        include_usage: Whether a fragment with the usage comes last.
    """
    document = msgspec.json.decode(response)
    usage = document.pop("usage", None)
    frame = {**document, "object": "chat.completion.chunk"}
    choices: list[dict[str, Any]] = []
    for choice in document["choices"]:
        index, message = choice.get("index", 0), dict(choice.get("message") or {})
        content = message.pop("content", None)
        message["tool_calls"] = [
            {"index": i, **call} for i, call in enumerate(message.get("tool_calls") or ())
        ]
        delta = {name: part for name, part in message.items() if part}
        choices.append({"index": index, "delta": delta, "finish_reason": None})
        for start in range(0, len(content or ""), _PIECE_CHARS):
            piece = {"content": content[start : start + _PIECE_CHARS]}
            choices.append({"index": index, "delta": piece, "finish_reason": None})
        choices.append({"index": index, "delta": {}, "finish_reason": choice.get("finish_reason")})
    told = {"usage": None} if include_usage else {}
    fragments = [msgspec.json.encode({**frame, "choices": [choice], **told}) for choice in choices]
    if include_usage:
        fragments.append(msgspec.json.encode({**frame, "choices": [], "usage": usage}))
    return fragments


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
