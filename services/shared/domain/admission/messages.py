"""Rules of chat messages: roles, contents, tool calls and the answers to them."""

from collections.abc import Mapping
from typing import Any

from services.shared.domain.admission.faults import (
    Fault,
    missing,
    shown,
    wrong_type,
    wrong_value,
)
from services.shared.domain.admission.limits import (
    MAX_IMAGE_URL_CHARS,
    MAX_MESSAGES,
    MAX_NAME_CHARS,
    MAX_TOOL_CALL_ID_CHARS,
)
from services.shared.domain.admission.rules import (
    Rule,
    array,
    bounded_text,
    by_type,
    items_fault,
    name,
    one_of,
    shape,
    size_fault,
    text,
)

_MAX_ITEMS = 10_000

_name = name(max_chars=MAX_NAME_CHARS)
_id = name(max_chars=MAX_TOOL_CALL_ID_CHARS)

_text_part = shape({"text": text}, required=("text",))
_image = shape(
    {"url": bounded_text(least=1, most=MAX_IMAGE_URL_CHARS), "detail": _name}, required=("url",)
)
_audio = shape({"data": text, "format": _name}, required=("data", "format"))
_file = shape({"file_data": text, "file_id": _name, "filename": text})
_TEXT_PARTS: Mapping[str, Rule] = {"text": _text_part}
_USER_PARTS: Mapping[str, Rule] = {
    "text": _text_part,
    "image_url": shape({"image_url": _image}, required=("image_url",)),
    "input_audio": shape({"input_audio": _audio}, required=("input_audio",)),
    "file": shape({"file": _file}, required=("file",)),
}
_ASSISTANT_PARTS: Mapping[str, Rule] = {
    "text": _text_part,
    "refusal": shape({"refusal": text}, required=("refusal",)),
}


def content(parts: Mapping[str, Rule]) -> Rule:
    """Accepts a string, or an array of parts of the given types."""
    known = one_of(*parts)

    def unknown(value: dict[str, Any]) -> Fault | None:
        fault = known(value["type"])
        return fault and fault.within("type")

    part = by_type(parts, other=unknown)

    def check(value: object) -> Fault | None:
        if type(value) is str:
            return None
        if type(value) is not list:
            return wrong_type("a string or an array of objects", value)
        return size_fault(value, least=1, most=_MAX_ITEMS) or items_fault(value, part)

    return check


text_content = content(_TEXT_PARTS)

_called_function = shape({"name": text, "arguments": text}, required=("name", "arguments"))
_called_tool = shape({"name": text, "input": text}, required=("name", "input"))
_tool_call = by_type(
    {
        "function": shape({"id": _id, "function": _called_function}, required=("id", "function")),
        "custom": shape({"id": _id, "custom": _called_tool}, required=("id", "custom")),
    },
    other=shape({"id": _id}, required=("id",)),
)
_assistant_fields = shape(
    {
        "content": content(_ASSISTANT_PARTS),
        "name": _name,
        "refusal": text,
        "audio": shape({"id": _id}, required=("id",)),
        "tool_calls": array(_tool_call, of="objects", most=_MAX_ITEMS),
        "function_call": _called_function,
    }
)
_INSTEAD_OF_CONTENT = ("tool_calls", "function_call", "refusal", "audio")


def _assistant(value: dict[str, Any]) -> Fault | None:
    fault = _assistant_fields(value)
    if fault is not None or value.get("content") is not None:
        return fault
    if any(value.get(field) for field in _INSTEAD_OF_CONTENT):
        return None
    expected = "a string or an array, unless there are 'tool_calls'"
    return (wrong_type(expected, None) if "content" in value else missing()).within("content")


_ROLES: Mapping[str, Rule] = {
    "system": shape({"content": text_content, "name": _name}, required=("content",)),
    "developer": shape({"content": text_content, "name": _name}, required=("content",)),
    "user": shape({"content": content(_USER_PARTS), "name": _name}, required=("content",)),
    "assistant": _assistant,
    "tool": shape(
        {"content": text_content, "tool_call_id": _id}, required=("content", "tool_call_id")
    ),
    "function": shape({"content": text_content, "name": _name}, required=("name",)),
}


def messages(value: object) -> Fault | None:
    """Accepts conversations: known roles, contents that fit them, answers only to open calls."""
    if type(value) is not list:
        return wrong_type("an array of objects", value)
    fault = size_fault(value, least=1, most=MAX_MESSAGES)
    if fault is not None:
        return fault
    open_calls: set[str] = set()
    for index, message in enumerate(value):
        fault = _message(message) or _call_fault(message, open_calls)
        if fault is not None:
            return fault.within(f"[{index}]")
    return None


def _message(value: object) -> Fault | None:
    if type(value) is not dict:
        return wrong_type("an object", value)
    role = value.get("role")
    rule = _ROLES.get(role) if type(role) is str else None
    return _role_fault(value) if rule is None else rule(value)


def _role_fault(message: dict[str, Any]) -> Fault:
    if "role" not in message:
        return missing().within("role")
    role = message["role"]
    known = ", ".join(f"'{each}'" for each in _ROLES)
    got = shown(role) if type(role) is str else "no string"
    fault = wrong_value(f"expected one of {known}, but got {got}", code="invalid_role")
    return fault.within("role")


def _call_fault(message: dict[str, Any], open_calls: set[str]) -> Fault | None:
    """What is wrong with the calls that a message opens, or with the one that it answers."""
    role = message["role"]
    if role == "assistant":
        ids = [call["id"] for call in message.get("tool_calls") or ()]
        if len(ids) != len(set(ids)):
            return wrong_value("two calls have the same 'id'").within("tool_calls")
        open_calls.update(ids)
    elif role == "tool":
        if message["tool_call_id"] not in open_calls:
            problem = "no call of that id waits for an answer in the messages before"
            return wrong_value(problem).within("tool_call_id")
        open_calls.remove(message["tool_call_id"])
    return None
