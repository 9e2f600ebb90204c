"""What a request asks for, as far as its answer is checked against it. Pure."""

from typing import Any

import msgspec

from services.shared.domain.cascade.scripts import scripts_in
from services.shared.domain.events import InferenceRequested, Operation

_SCHEMA_TYPES = frozenset({"json_object", "json_schema"})


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a request asks for.

    Attributes:
        prompt: The last user message, or the prompt of a text completion.
        guidance: What the system says.
        max_tokens: Cap of the answer; 0 = none.
        wants_json: Whether the answer has to be JSON.
        schema: What the JSON has to be like; null = any.
        is_chat: Whether it is asked for a message, not for the rest of a text.
        turns: Texts of all messages.
        shows: Whether a message has more than text, e.g. an image.
        scripts: Scripts, beside the Latin one, of all messages.
        tools: JSON Schemas of the arguments of the tools that are offered, by name.
    """

    prompt: str = ""
    guidance: str = ""
    max_tokens: int = 0
    wants_json: bool = False
    schema: dict[str, Any] | None = None
    is_chat: bool = True
    turns: tuple[str, ...] = ()
    shows: bool = False
    scripts: frozenset[str] = frozenset()
    tools: dict[str, dict[str, Any]] = {}

    @property
    def others(self) -> tuple[str, ...]:
        """All that was said beside the prompt."""
        return (self.guidance, *self.turns)


def asked_of(request: InferenceRequested) -> Asked:
    """Read an admitted request of chat or text completion."""
    document = msgspec.json.decode(request.body)
    messages = document.get("messages") or ()
    wanted = document.get("response_format") or {}
    kind = wanted.get("type")
    prompt = document.get("prompt")
    contents = [message.get("content") for message in messages]
    turns = tuple(map(text_of, contents))
    return Asked(
        prompt=prompt if isinstance(prompt, str) else _last(messages, {"user"}),
        guidance=_last(messages, {"system", "developer"}),
        max_tokens=request.max_output_tokens,
        wants_json=kind in _SCHEMA_TYPES,
        schema=(wanted.get("json_schema") or {}).get("schema") if kind == "json_schema" else None,
        is_chat=request.operation == Operation.CHAT,
        turns=turns,
        shows=any(_is_shown(part) for content in contents for part in _parts(content)),
        scripts=scripts_in(turns),
        tools=_tools(document.get("tools") or ()),
    )


def text_of(content: object) -> str:
    """The words of a message's content: a text, or parts of which some are texts."""
    if isinstance(content, str):
        return content
    texts = (part.get("text") for part in _parts(content))
    return "\n".join(text for text in texts if isinstance(text, str))


def _parts(content: object) -> list[dict[str, Any]]:
    parts = content if isinstance(content, list) else []
    return [part for part in parts if isinstance(part, dict)]


def _is_shown(part: dict[str, Any]) -> bool:
    return not isinstance(part.get("text"), str)


def _last(messages: Any, roles: set[str]) -> str:
    for message in reversed(messages):
        if message.get("role") in roles:
            return text_of(message.get("content"))
    return ""


def _tools(tools: Any) -> dict[str, dict[str, Any]]:
    functions = (tool.get("function") or {} for tool in tools if tool.get("type") == "function")
    return {
        function["name"]: function.get("parameters") or {}
        for function in functions
        if "name" in function
    }
