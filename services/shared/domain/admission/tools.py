"""Rules of tools, the choice among them, and their predecessors, functions."""

from typing import Any

from services.shared.domain.admission.faults import Fault, wrong_type, wrong_value
from services.shared.domain.admission.json_schemas import json_schema
from services.shared.domain.admission.limits import MAX_TOOLS
from services.shared.domain.admission.rules import (
    anything,
    array,
    boolean,
    by_type,
    matching,
    one_of,
    shape,
    text,
)

Document = dict[str, Any]

FUNCTION = "function"
CUSTOM = "custom"
_NAMED = (FUNCTION, CUSTOM)
_ALLOWED_TOOLS = "allowed_tools"

identifier = matching(r"[a-zA-Z0-9_-]{1,64}", "1 to 64 letters, digits, '_' and '-'")

_function = shape(
    {"name": identifier, "description": text, "parameters": json_schema, "strict": boolean},
    required=("name",),
)
_tool = by_type(
    {
        FUNCTION: shape({FUNCTION: _function}, required=(FUNCTION,)),
        CUSTOM: shape(
            {CUSTOM: shape({"name": identifier, "description": text}, required=("name",))},
            required=(CUSTOM,),
        ),
    },
    other=anything,  # tools that a provider runs itself
)
tools = array(_tool, of="objects", least=1, most=MAX_TOOLS)
functions = array(_function, of="objects", most=MAX_TOOLS)

_by_name = shape({"name": text}, required=("name",))
_chosen_tool = by_type(
    {kind: shape({kind: _by_name}, required=(kind,)) for kind in _NAMED}, other=anything
)
_allowed = shape(
    {
        "mode": one_of("auto", "required"),
        "tools": array(_chosen_tool, of="objects", most=MAX_TOOLS),
    },
    required=("mode", "tools"),
)
_tool_choice_word = one_of("none", "auto", "required")
_tool_choice_object = by_type(
    {
        **{kind: shape({kind: _by_name}, required=(kind,)) for kind in _NAMED},
        _ALLOWED_TOOLS: shape({_ALLOWED_TOOLS: _allowed}, required=(_ALLOWED_TOOLS,)),
    },
    other=anything,
)
_function_call_word = one_of("none", "auto")


def tool_choice(value: object) -> Fault | None:
    """Accepts ``none``, ``auto``, ``required``, one tool by name, or some of them."""
    if type(value) is str:
        return _tool_choice_word(value)
    if type(value) is dict:
        return _tool_choice_object(value)
    return wrong_type("a string or an object", value)


def function_call(value: object) -> Fault | None:
    """Accepts ``none``, ``auto`` or one function by name."""
    if type(value) is str:
        return _function_call_word(value)
    if type(value) is dict:
        return _by_name(value)
    return wrong_type("a string or an object", value)


def tool_choice_agrees(document: Document) -> Fault | None:
    """A choice names tools that are offered; where none are, only ``none`` can be chosen."""
    choice = document.get("tool_choice")
    offered = {_tool_name(tool) for tool in document.get("tools") or ()}
    if choice not in (None, "none") and not offered:
        return wrong_value("only allowed when 'tools' are given").within("tool_choice")
    if not isinstance(choice, dict):
        return None
    is_several = choice["type"] == _ALLOWED_TOOLS
    chosen = choice[_ALLOWED_TOOLS]["tools"] if is_several else [choice]
    if any(name not in offered for tool in chosen if (name := _tool_name(tool)) is not None):
        return wrong_value("no tool of that name is in 'tools'").within("tool_choice")
    return None


def function_call_agrees(document: Document) -> Fault | None:
    """A function can only be called when it is offered."""
    call = document.get("function_call")
    if not isinstance(call, dict):
        return None
    offered = {function["name"] for function in document.get("functions") or ()}
    if call["name"] in offered:
        return None
    return wrong_value("no function of that name is in 'functions'").within("function_call")


def _tool_name(tool: Document) -> tuple[str, str] | None:
    """Kind and name of a tool; None for tools that a provider runs itself."""
    kind = tool["type"]
    return (kind, tool[kind]["name"]) if kind in _NAMED else None
