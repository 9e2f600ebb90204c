"""Whether an answer is the JSON that was asked for, and how it is mended. Pure."""

import re
from typing import Any

import msgspec

from services.shared.domain.cascade.asked import Asked
from services.shared.domain.no_json import NO_JSON

MAX_CHECKED_CHARS = 1_000_000
"""A longer answer is not looked at; it passes for what it should be."""

_FENCED = re.compile(r"```[a-zA-Z]{0,20}[ \t]?\n(.*?)```", re.DOTALL)
_CONTENT_FREE = frozenset({"content_filter"})


def fault_of_content(content: str, asked: Asked) -> str | None:
    """Why a text is not the JSON that was asked for; None = it is. Quotes nothing of it."""
    if len(content) > MAX_CHECKED_CHARS:
        return None
    try:
        value = msgspec.json.decode(content)
    except NO_JSON:
        return "it is not JSON"
    if asked.schema is not None:
        # Only here is jsonschema needed: 0.1 s at the start of a caller that others wait for.
        from services.model_caller.levers.schemas import why_not  # noqa: PLC0415

        return why_not(asked.schema, value)
    return None if isinstance(value, dict) else "it is not a JSON object"


def fault_of_answer(document: Any, asked: Asked) -> str | None:
    """The first fault of the choices of a whole chat answer; None = there is none.

    A refusal, a filtered answer and calls of tools are no JSON by right.
    """
    for choice in document["choices"]:
        content = _checked_content(choice)
        if content is not None and (fault := fault_of_content(content, asked)) is not None:
            return fault
    return None


def mended(document: Any, asked: Asked) -> bool:
    """Cut off, in place, what surrounds the JSON of each choice; whether all are faultless then."""
    for choice in document["choices"]:
        content = _checked_content(choice)
        if content is None or fault_of_content(content, asked) is None:
            continue
        inner = next((it for it in _inner(content) if fault_of_content(it, asked) is None), None)
        if inner is None:
            return False
        choice["message"]["content"] = inner
    return True


def _checked_content(choice: Any) -> str | None:
    message = choice.get("message") or {}
    is_exempt = (
        message.get("refusal")
        or message.get("tool_calls")
        or message.get("function_call")
        or choice.get("finish_reason") in _CONTENT_FREE
    )
    if is_exempt:
        return None
    content = message.get("content")
    return content if isinstance(content, str) else ""


def _inner(content: str) -> list[str]:
    """What may be the JSON within a text: what is fenced, else from the first to the last brace."""
    if len(content) > MAX_CHECKED_CHARS:
        return []
    fenced = _FENCED.search(content)
    found = [fenced[1].strip()] if fenced is not None else []
    for opening, closing in ("{}", "[]"):
        start, end = content.find(opening), content.rfind(closing)
        if 0 <= start < end:
            found.append(content[start : end + 1])
    return found
