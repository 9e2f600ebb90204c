"""Questions for OpenAI's client, as plain values, and the texts of its answers."""

import uuid
from collections.abc import Iterable
from typing import Any

from openai import OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk

FAST = "sim-fast"


def user(text: str) -> list[dict[str, str]]:
    """A conversation of one message."""
    return [{"role": "user", "content": text}]


def unique(text: str = "Why do rivers meander?") -> str:
    """A prompt that nobody has asked before."""
    return f"{text} {uuid.uuid4().hex}"


def ask(client: OpenAI, **fields: Any) -> Any:
    """Ask a fresh question; fields come as plain values."""
    asked: dict[str, Any] = {"model": FAST, "messages": user(unique()), **fields}
    return client.chat.completions.create(**asked)


def text_of(chunks: Iterable[ChatCompletionChunk], choice: int = 0) -> str:
    """The text of one choice of a stream."""
    return "".join(
        each.delta.content or ""
        for chunk in chunks
        for each in chunk.choices
        if each.index == choice
    )


def content(answer: ChatCompletion, choice: int = 0) -> str:
    """The text of one choice of an answer."""
    text = answer.choices[choice].message.content
    assert text
    return text
