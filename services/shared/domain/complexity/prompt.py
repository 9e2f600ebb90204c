"""What of a request the classifier looks at: the caller's own last words, and not all of those.

A system prompt and the blocks that a coding or chat harness puts into a message are the same in
easy and in hard requests, so they would only drown what was asked.
"""

import msgspec

from services.shared.domain.events import InferenceRequested, Operation

HEAD_CHARACTERS = 2_000
TAIL_CHARACTERS = 1_000

HARNESS_BLOCKS = (
    "system-reminder",
    "environment_details",
    "environment_context",
    "additional_data",
    "user_info",
    "open_files",
    "attached_files",
    "command-message",
    "local-command-stdout",
    "user_instructions",
    "INSTRUCTIONS",
)
"""Tags of the blocks that harnesses put into a user's message."""


class _Part(msgspec.Struct):
    type: str = ""
    text: str = ""


class _Message(msgspec.Struct):
    role: str = ""
    content: msgspec.Raw = msgspec.Raw(b"null")


class _Body(msgspec.Struct):
    messages: list[_Message] = []
    prompt: msgspec.Raw = msgspec.Raw(b"null")


_BODY = msgspec.json.Decoder(_Body)
_CONTENT = msgspec.json.Decoder(str | list[_Part] | None)
_PROMPT = msgspec.json.Decoder(str | list[str | int | list[int]] | None)


def prompt_text(request: InferenceRequested) -> str:
    """The text of a request that is scored; empty where there is none.

    Of a chat it is the last message of the user, of a completion the prompt, and the last one where
    there are several. Token ids have no text; embeddings are not harder or easier.
    """
    if request.operation == Operation.EMBEDDINGS:
        return ""
    try:
        return shortened(without_harness(_last_words(_BODY.decode(request.body))))
    except msgspec.DecodeError:  # admission let it pass, so it is a shape that only a model knows
        return ""


def shortened(text: str) -> str:
    """The beginning and the end of a text, where what is asked stands."""
    if len(text) <= HEAD_CHARACTERS + TAIL_CHARACTERS:
        return text
    return f"{text[:HEAD_CHARACTERS]}\n{text[-TAIL_CHARACTERS:]}"


def without_harness(text: str) -> str:
    """A text without the blocks of a harness; one that is not closed reaches to the end."""
    if "<" not in text:
        return text
    for tag in HARNESS_BLOCKS:
        text = _without_block(text, f"<{tag}>", f"</{tag}>")
    return text


def _without_block(text: str, opening: str, closing: str) -> str:
    start = text.find(opening)
    if start < 0:
        return text
    kept, end = [], 0
    while start >= 0:
        kept.append(text[end:start])
        close = text.find(closing, start)
        if close < 0:
            return "".join(kept)
        end = close + len(closing)
        start = text.find(opening, end)
    return "".join((*kept, text[end:]))


def _last_words(body: _Body) -> str:
    for message in reversed(body.messages):
        if message.role == "user":
            return _text_of(message.content)
    prompt = _PROMPT.decode(body.prompt)
    if isinstance(prompt, list):
        return next((each for each in reversed(prompt) if isinstance(each, str)), "")
    return prompt or ""


def _text_of(content: msgspec.Raw) -> str:
    parts = _CONTENT.decode(content)
    if isinstance(parts, list):
        return "\n".join(part.text for part in parts if part.text)
    return parts or ""
