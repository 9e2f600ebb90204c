"""The form of a chat completion request."""

from typing import Any

from services.shared.domain.admission.common_fields import (
    COMMON,
    SAMPLING,
    stream_options_agree,
    word,
)
from services.shared.domain.admission.faults import Fault, wrong_value
from services.shared.domain.admission.form import Form
from services.shared.domain.admission.json_schemas import json_schema
from services.shared.domain.admission.limits import MAX_OUTPUT_TOKENS
from services.shared.domain.admission.messages import messages, text_content
from services.shared.domain.admission.rules import (
    anything,
    array,
    boolean,
    by_type,
    integer,
    shape,
    text,
)
from services.shared.domain.admission.tools import (
    function_call,
    function_call_agrees,
    functions,
    identifier,
    tool_choice,
    tool_choice_agrees,
    tools,
)

_MAX_MODALITIES = 8
_MAX_TOP_LOGPROBS = 20

_named_schema = shape(
    {"name": identifier, "description": text, "schema": json_schema, "strict": boolean},
    required=("name",),
)
_response_format = by_type(
    {"json_schema": shape({"json_schema": _named_schema}, required=("json_schema",))},
    other=anything,
)


def output_caps_agree(document: dict[str, Any]) -> Fault | None:
    """There is one cap on output tokens, by its old name or its new one."""
    if document.get("max_tokens") is None or document.get("max_completion_tokens") is None:
        return None
    return wrong_value("not allowed together with 'max_completion_tokens'").within("max_tokens")


def top_logprobs_agree(document: dict[str, Any]) -> Fault | None:
    """The likeliest tokens are told beside log probabilities only."""
    if document.get("top_logprobs") and document.get("logprobs") is not True:
        return wrong_value("only allowed when 'logprobs' is true").within("top_logprobs")
    return None


CHAT = Form(
    fields={
        **COMMON,
        **SAMPLING,
        "messages": messages,
        "max_completion_tokens": integer(1, MAX_OUTPUT_TOKENS),
        "logprobs": boolean,
        "top_logprobs": integer(0, _MAX_TOP_LOGPROBS),
        "tools": tools,
        "tool_choice": tool_choice,
        "parallel_tool_calls": boolean,
        "functions": functions,
        "function_call": function_call,
        "response_format": _response_format,
        "reasoning_effort": word,
        "verbosity": word,
        "modalities": array(word, of="strings", most=_MAX_MODALITIES),
        "audio": shape({"format": word}),
        "prediction": shape({"type": word, "content": text_content}, required=("content",)),
        "web_search_options": shape({}),
    },
    required=("model", "messages"),
    agreements=(
        output_caps_agree,
        top_logprobs_agree,
        stream_options_agree,
        tool_choice_agrees,
        function_call_agrees,
    ),
)
