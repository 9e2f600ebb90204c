"""How many tokens an input will be, estimated without a tokenizer.

Tokenizers differ by model and cost a millisecond for what takes microseconds here. The estimate is
for windows, limits and routing; what is billed is what the provider reports. A Latin character
counts as a quarter of a token. Other scripts need more tokens and more bytes of UTF-8, so every
byte beyond one a character adds three eighths: Cyrillic, Greek, Arabic 0.6, Chinese, Japanese,
Korean 1, emoji 1.4 tokens a character.
"""

from typing import Any

import msgspec

Document = dict[str, Any]

MESSAGE_TOKENS = 4
"""Role and delimiters of a message."""

IMAGE_TOKENS = 765
"""An image of 1024 x 1024 at OpenAI; its true size is not known here."""

LOW_DETAIL_IMAGE_TOKENS = 85
AUDIO_CHARS_PER_TOKEN = 2_000
"""Base64 of compressed speech; ten tokens a second."""

FILE_CHARS_PER_TOKEN = 20
"""Base64 of a document, most of which is layout."""

_UNITS_PER_TOKEN = 8
_LATIN_UNITS = 2
_EXTRA_BYTE_UNITS = 3


def chat_tokens(document: Document) -> int:
    """Estimated input tokens of an admitted chat body."""
    units = sum(map(_message_units, document["messages"]))
    for field in ("tools", "functions", "response_format"):
        value = document.get(field)
        if value:
            units += _LATIN_UNITS * len(msgspec.json.encode(value))
    return _tokens(units)


def input_tokens(value: Any) -> int:
    """Estimated tokens of an admitted ``prompt`` or ``input``; token ids are counted exactly."""
    if not value:
        return 0
    if type(value) is str:
        return _tokens(_text_units(value))
    if type(value[0]) is int:
        return len(value)
    if type(value[0]) is str:
        return _tokens(sum(map(_text_units, value)))
    return sum(map(len, value))


def has_images(document: Document) -> bool:
    """Whether some message of an admitted chat body holds an image."""
    return any(
        part["type"] == "image_url"
        for message in document["messages"]
        if type(message.get("content")) is list
        for part in message["content"]
    )


def _tokens(units: int) -> int:
    return -(-units // _UNITS_PER_TOKEN)


def _text_units(text: str) -> int:
    chars = len(text)
    extra_bytes = 0 if text.isascii() else len(text.encode()) - chars
    return _LATIN_UNITS * chars + _EXTRA_BYTE_UNITS * extra_bytes


def _message_units(message: Document) -> int:
    content = message.get("content")
    units = _UNITS_PER_TOKEN * MESSAGE_TOKENS
    if type(content) is str:
        units += _text_units(content)
    elif content:
        units += sum(map(_part_units, content))
    for field in ("tool_calls", "function_call"):
        calls = message.get(field)
        if calls:
            units += _LATIN_UNITS * len(msgspec.json.encode(calls))
    return units


def _part_units(part: Document) -> int:
    kind = part["type"]
    if kind == "image_url":
        is_low = part["image_url"].get("detail") == "low"
        return _UNITS_PER_TOKEN * (LOW_DETAIL_IMAGE_TOKENS if is_low else IMAGE_TOKENS)
    if kind == "input_audio":
        return _UNITS_PER_TOKEN * len(part["input_audio"]["data"]) // AUDIO_CHARS_PER_TOKEN
    if kind == "file":
        return _UNITS_PER_TOKEN * len(part["file"].get("file_data") or "") // FILE_CHARS_PER_TOKEN
    return _text_units(part[kind])
