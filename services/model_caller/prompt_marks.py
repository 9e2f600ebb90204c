"""Marks what is worth it for the provider's own prompt cache. Pure.

Providers that cache prompts only on demand take the beginning of a prompt, tools first, up to a
part marked ``cache_control``. What repeats from request to request is the tools and the system
prompt, so their ends are marked: two marks of the four that a request may have. A caller who marks
anything himself knows better, and nothing is added. Writing to such a cache costs more than reading
the prompt, and prompts of less than about a thousand tokens are not cached anyway.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from services.shared.domain.configuration import Model
from services.shared.domain.configuration_output import PromptCaching
from services.shared.domain.name_patterns import NamePatterns

LEAST_BYTES = 4_096
"""A shorter beginning is not marked: about a thousand tokens."""

_MARK = {"type": "ephemeral"}
_NAME = "cache_control"
_QUOTED = b'"cache_control"'
_SYSTEM = frozenset({"system", "developer"})
_NOTHING = msgspec.Raw(b"[]")


class _Role(msgspec.Struct):
    role: str = ""


def marking(models: Mapping[str, Model]) -> Callable[[str], bool]:
    """Whether an alias has its prompts marked; patterns are followed."""
    patterns = NamePatterns(models)

    def marks(alias: str) -> bool:
        match = patterns.find(alias)
        return match is not None and match.value.output.prompt_caching is PromptCaching.INJECT

    return marks


def mark_prompt(fields: dict[str, msgspec.Raw]) -> None:
    """Mark the ends of long tools and of a long system prompt in the fields of a chat request."""
    messages, tools = fields.get("messages"), fields.get("tools", _NOTHING)
    if messages is None or _NAME in fields:
        return
    if _QUOTED in bytes(messages) or _QUOTED in bytes(tools):
        return
    if len(bytes(tools)) >= LEAST_BYTES:
        fields["tools"] = _with_last_tool_marked(tools)
    items = msgspec.json.decode(messages, type=list[msgspec.Raw])
    count = _leading_system_messages(items)
    beginning_bytes = len(bytes(tools)) + sum(len(bytes(item)) for item in items[:count])
    if count and beginning_bytes >= LEAST_BYTES:
        items[count - 1] = _with_end_marked(items[count - 1])
        fields["messages"] = msgspec.Raw(msgspec.json.encode(items))


def _leading_system_messages(items: list[msgspec.Raw]) -> int:
    for count, item in enumerate(items):
        if msgspec.json.decode(item, type=_Role).role not in _SYSTEM:
            return count
    return len(items)


def _with_last_tool_marked(tools: msgspec.Raw) -> msgspec.Raw:
    items: list[Any] = msgspec.json.decode(tools)
    items[-1] = {**items[-1], _NAME: _MARK}
    return msgspec.Raw(msgspec.json.encode(items))


def _with_end_marked(message: msgspec.Raw) -> msgspec.Raw:
    """The message with its last piece of text marked; as it is when it has none."""
    fields: dict[str, Any] = msgspec.json.decode(message)
    content = fields.get("content")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not parts or not parts[-1].get("text"):
        return message
    fields["content"] = [*parts[:-1], {**parts[-1], _NAME: _MARK}]
    return msgspec.Raw(msgspec.json.encode(fields))
