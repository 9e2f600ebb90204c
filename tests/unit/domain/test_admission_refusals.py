"""Bodies that are refused: a row for each kind of bad input, by its number in the catalogue."""

from typing import Any

import msgspec
import pytest

from services.shared.domain.admission.admit import admit
from services.shared.domain.admission.limits import Limits
from services.shared.domain.errors import PublicError, error_document
from services.shared.domain.events import Operation

CHAT, TEXT, EMBED = Operation.CHAT, Operation.TEXT_COMPLETION, Operation.EMBEDDINGS
ASK = [{"role": "user", "content": "Hi"}]
BODIES: dict[Operation, dict[str, Any]] = {
    CHAT: {"model": "m", "messages": ASK},
    TEXT: {"model": "m", "prompt": "Once"},
    EMBED: {"model": "m", "input": "text"},
}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}
ANSWER = {"role": "tool", "tool_call_id": "c1", "content": "1"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def row(
    number: str, change: dict[str, Any], code: str, param: str, operation: Operation = CHAT
) -> Any:
    """A valid body with one change, and what must come of it."""
    body = {key: value for key, value in {**BODIES[operation], **change}.items() if value != ...}
    return pytest.param(operation, body, code, param, id=f"{number}-{param or code}")


def said(number: str, message: object, code: str, path: str) -> Any:
    """A conversation of one message, and what must come of it."""
    return row(number, {"messages": [message]}, code, f"messages[0]{path}")


def tool(number: str, parameters: object) -> Any:
    """A tool whose schema must be refused."""
    described = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    where = "tools[0].function.parameters"
    return row(number, {"tools": [described]}, "invalid_value", where)


MISSING = "missing_required_parameter"

ROWS = [
    row("H7", {"max_tokens": 10**18}, "out_of_range", "max_tokens"),
    row("H10", {"model": "a\0b"}, "invalid_value", "model"),
    row("H10", {"user": "a\0b"}, "invalid_value", "user"),
    row("H10", {"metadata": {"a\0b": "x"}}, "invalid_value", "metadata"),
    row(
        "H10",
        {"messages": [{**ANSWER, "tool_call_id": "\0"}]},
        "invalid_value",
        "messages[0].tool_call_id",
    ),
    row("H10", {"fie\0ld": 1}, "unknown_parameter", r"fie\x00ld"),
    *(
        row("H30", {field: "x"}, "unknown_parameter", field, operation)
        for operation in Operation
        for field in ("api_base", "base_url", "custom_host", "extra_headers", "api_key")
    ),
    *(
        row("H30", {field: "x"}, "unknown_parameter", field)
        for field in (
            "apiKey",
            "API-KEY",
            "baseURL",
            "api_url",
            "api_version",
            "endpoint",
            "azure_endpoint",
            "aws_secret_access_key",
            "aws_region_name",
            "vertex_credentials",
            "hf_token",
            "headers",
            "default_headers",
            "proxy",
            "proxies",
            "host",
            "authorization",
            "access_token",
            "webhook_url",
            "azure_ad_token",
            "password",
            "client_secret",
            "private_key",
        )
    ),
    row("H30", {"x" * 300: 1}, "unknown_parameter", "x" * 59 + "..."),
    row("H31", {"model": ...}, MISSING, "model"),
    row("H31", {"model": None}, "invalid_type", "model"),
    row("H31", {"model": ""}, "invalid_value", "model"),
    row("H31", {"model": 4}, "invalid_type", "model"),
    row("H31", {"model": "m" * 257}, "invalid_value", "model"),
    row("H31", {"model": "modèle"}, "invalid_value", "model"),
    row("H32", {"messages": ...}, MISSING, "messages"),
    row("H32", {"messages": []}, "invalid_value", "messages"),
    row("H32", {"messages": ASK * 10_001}, "invalid_value", "messages"),
    row("H32", {"messages": "Hi"}, "invalid_type", "messages"),
    row("H32", {"messages": None}, "invalid_type", "messages"),
    said("H32", "Hi", "invalid_type", ""),
    *(
        said("H33", {"role": role, "content": "Hi"}, "invalid_role", ".role")
        for role in ("root", "System", "", 1, None, ["user"], "x" * 1_000)
    ),
    said("H33", {"content": "Hi"}, MISSING, ".role"),
    said("H34", {"role": "user"}, MISSING, ".content"),
    said("H34", {"role": "user", "content": None}, "invalid_type", ".content"),
    said("H34", {"role": "user", "content": 7}, "invalid_type", ".content"),
    said("H34", {"role": "user", "content": []}, "invalid_value", ".content"),
    said("H34", {"role": "user", "content": ["Hi"]}, "invalid_type", ".content[0]"),
    said("H34", {"role": "user", "content": [{"text": "Hi"}]}, MISSING, ".content[0].type"),
    said("H34", {"role": "user", "content": [{"type": 1}]}, "invalid_type", ".content[0].type"),
    said(
        "H34", {"role": "user", "content": [{"type": "video"}]}, "invalid_value", ".content[0].type"
    ),
    said("H34", {"role": "user", "content": [{"type": "text"}]}, MISSING, ".content[0].text"),
    said(
        "H34",
        {"role": "user", "content": [{"type": "text", "text": 1}]},
        "invalid_type",
        ".content[0].text",
    ),
    said(
        "H34",
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": ""}}]},
        "invalid_value",
        ".content[0].image_url.url",
    ),
    said(
        "H34",
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": 1}}]},
        "invalid_type",
        ".content[0].image_url.url",
    ),
    said(
        "H34",
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 10**6}}
            ],
        },
        "invalid_value",
        ".content[0].image_url.url",
    ),
    said(
        "H34",
        {"role": "system", "content": [{"type": "image_url", "image_url": {"url": "u"}}]},
        "invalid_value",
        ".content[0].type",
    ),
    said(
        "H34",
        {"role": "user", "content": [{"type": "image_url", "image_url": "https://x"}]},
        "invalid_type",
        ".content[0].image_url",
    ),
    said("H34", {"role": "assistant"}, MISSING, ".content"),
    said("H34", {"role": "assistant", "content": None}, "invalid_type", ".content"),
    said("H34", {"role": "assistant", "tool_calls": []}, MISSING, ".content"),
    said("H34", {"role": "assistant", "content": 1}, "invalid_type", ".content"),
    said("H34", {"role": "user", "content": "Hi", "name": "x" * 300}, "invalid_value", ".name"),
    said("H35", {"role": "tool", "content": "1"}, MISSING, ".tool_call_id"),
    said("H35", ANSWER, "invalid_value", ".tool_call_id"),
    row(
        "H35", {"messages": [CALLING, ANSWER, ANSWER]}, "invalid_value", "messages[2].tool_call_id"
    ),
    said("H35", {**CALLING, "tool_calls": [CALL, CALL]}, "invalid_value", ".tool_calls"),
    said(
        "H35", {**CALLING, "tool_calls": [{**CALL, "id": ""}]}, "invalid_value", ".tool_calls[0].id"
    ),
    said("H35", {**CALLING, "tool_calls": CALL}, "invalid_type", ".tool_calls"),
    said(
        "H35",
        {**CALLING, "tool_calls": [{"id": "c", "type": "function"}]},
        MISSING,
        ".tool_calls[0].function",
    ),
    row("H36", {"tools": [TOOL] * 129}, "invalid_value", "tools"),
    row("H36", {"tools": {"type": "function"}}, "invalid_type", "tools"),
    row("H36", {"tools": ["f"]}, "invalid_type", "tools[0]"),
    row("H36", {"tools": [{"function": {"name": "f"}}]}, MISSING, "tools[0].type"),
    *(
        row(
            "H36",
            {"tools": [{"type": "function", "function": {"name": name}}]},
            "invalid_value",
            "tools[0].function.name",
        )
        for name in ("a b", "x" * 65, "", "a\n", "é")
    ),
    row("H36", {"functions": [{"name": "f"}] * 129}, "invalid_value", "functions"),
    row("H36", {"functions": [{"name": 1}]}, "invalid_type", "functions[0].name"),
    row("H36", {"functions": [{}]}, MISSING, "functions[0].name"),
    tool("H36", {"$ref": "#"}),
    tool("H36", {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}),
    tool("H36", {"properties": {"x": {"type": "string", "pattern": "^(a+)+$"}}}),
    row(
        "H36",
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]},
        "invalid_type",
        "tools[0].function.parameters",
    ),
    row(
        "H37",
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}},
        "invalid_value",
        "tool_choice",
    ),
    row(
        "H37",
        {"tools": [TOOL], "tool_choice": {"type": "custom", "custom": {"name": "f"}}},
        "invalid_value",
        "tool_choice",
    ),
    row(
        "H37",
        {"tool_choice": {"type": "function", "function": {"name": "f"}}},
        "invalid_value",
        "tool_choice",
    ),
    row(
        "H37",
        {
            "tools": [TOOL],
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "auto",
                    "tools": [{"type": "function", "function": {"name": "g"}}],
                },
            },
        },
        "invalid_value",
        "tool_choice",
    ),
    row("H36", {"tools": []}, "invalid_value", "tools"),
    row("H36", {"tools": [], "tool_choice": "auto"}, "invalid_value", "tools"),
    *(
        row("H37", {"tool_choice": choice}, "invalid_value", "tool_choice")
        for choice in ("required", "auto", {"type": "web_search"})
    ),
    row("H37", {"tools": [TOOL], "tool_choice": "f"}, "invalid_value", "tool_choice"),
    row("H37", {"tools": [TOOL], "tool_choice": 1}, "invalid_type", "tool_choice"),
    row(
        "H37",
        {"tools": [TOOL], "tool_choice": {"type": "function"}},
        MISSING,
        "tool_choice.function",
    ),
    row(
        "H37",
        {"functions": [{"name": "f"}], "function_call": {"name": "g"}},
        "invalid_value",
        "function_call",
    ),
    row("H37", {"function_call": "f"}, "invalid_value", "function_call"),
    row("H37", {"function_call": 1}, "invalid_type", "function_call"),
    row(
        "H38",
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "s", "schema": {"description": "x" * 1_000_000}},
            }
        },
        "invalid_value",
        "response_format.json_schema.schema",
    ),
    row(
        "H38", {"response_format": {"type": "json_schema"}}, MISSING, "response_format.json_schema"
    ),
    row("H38", {"response_format": "json"}, "invalid_type", "response_format"),
    *(
        row("H39", {field: value}, code, field)
        for field in ("max_tokens", "max_completion_tokens")
        for value, code in (
            (0, "out_of_range"),
            (-1, "out_of_range"),
            (10**9, "out_of_range"),
            (1e9, "out_of_range"),
            (1.5, "invalid_type"),
            ("10", "invalid_type"),
            (True, "invalid_type"),
        )
    ),
    row("H39", {"max_tokens": 5, "max_completion_tokens": 5}, "invalid_value", "max_tokens"),
    *(
        row("H40", {"temperature": value}, code, "temperature", operation)
        for operation in (CHAT, TEXT)
        for value, code in (
            (-1, "out_of_range"),
            (3, "out_of_range"),
            ("hot", "invalid_type"),
            (False, "invalid_type"),
        )
    ),
    row("H40", {"top_p": 1.1}, "out_of_range", "top_p"),
    row("H40", {"presence_penalty": -2.1}, "out_of_range", "presence_penalty"),
    *(
        row("H41", {"n": n}, "out_of_range", "n", operation)
        for operation in (CHAT, TEXT)
        for n in (0, 9, 129, 10**6)
    ),
    row("H41", {"prompt": ["a"] * 1_000, "n": 8}, "out_of_range", "n", TEXT),
    row("H41", {"best_of": 9}, "out_of_range", "best_of", TEXT),
    row("H41", {"best_of": 2, "n": 3}, "out_of_range", "best_of", TEXT),
    row("H42", {"logprobs": True, "top_logprobs": 10**6}, "out_of_range", "top_logprobs"),
    row("H42", {"logprobs": 10**6}, "invalid_type", "logprobs"),
    row("H42", {"top_logprobs": 2}, "invalid_value", "top_logprobs"),
    row("H42", {"logprobs": False, "top_logprobs": 2}, "invalid_value", "top_logprobs"),
    row("H42", {"logprobs": 10**6}, "out_of_range", "logprobs", TEXT),
    row("H42", {"logit_bias": {str(i): 1 for i in range(100_000)}}, "invalid_value", "logit_bias"),
    row("H42", {"logit_bias": {"1": 101}}, "out_of_range", "logit_bias"),
    row("H42", {"logit_bias": {"1": "x"}}, "invalid_type", "logit_bias"),
    *(
        row("H42", {"logit_bias": {key: 1}}, "invalid_value", "logit_bias")
        for key in ("word", "-1", "", "1000001", "9" * 5_000, "\u0661")
    ),
    row("H42", {"logit_bias": [1]}, "invalid_type", "logit_bias"),
    row("H43", {"stop": ["a"] * 5}, "invalid_value", "stop"),
    row("H43", {"stop": ""}, "invalid_value", "stop"),
    row("H43", {"stop": ["a", ""]}, "invalid_value", "stop[1]"),
    row("H43", {"stop": "x" * 10_000}, "invalid_value", "stop"),
    row("H43", {"stop": 1}, "invalid_type", "stop"),
    row("H43", {"stop": [1]}, "invalid_type", "stop[0]"),
    row("H44", {"seed": 2**63}, "out_of_range", "seed"),
    row("H44", {"seed": -(2**63) - 1}, "out_of_range", "seed"),
    row("H44", {"user": "x" * 10_000}, "invalid_value", "user"),
    row("H44", {"user": 1}, "invalid_type", "user", EMBED),
    row("H44", {"metadata": {str(i): "x" for i in range(17)}}, "invalid_value", "metadata"),
    row("H44", {"metadata": {"": "x"}}, "invalid_value", "metadata"),
    row("H44", {"metadata": {"k" * 65: "x"}}, "invalid_value", "metadata"),
    row("H44", {"metadata": {"k": "x" * 513}}, "invalid_value", "metadata"),
    row("H44", {"metadata": {"k": 1}}, "invalid_type", "metadata"),
    row("H44", {"metadata": "k"}, "invalid_type", "metadata"),
    row("H45", {"stream": "true"}, "invalid_type", "stream"),
    row("H45", {"stream": 1}, "invalid_type", "stream", TEXT),
    row("H45", {"stream_options": {"include_usage": True}}, "invalid_value", "stream_options"),
    row(
        "H45",
        {"stream": True, "stream_options": {"include_usage": 1}},
        "invalid_type",
        "stream_options.include_usage",
    ),
    row("H45", {"stream": True, "stream_options": True}, "invalid_type", "stream_options"),
    row("H56", {"model": "m\r\nX-Evil: 1"}, "invalid_value", "model"),
    row("H56", {"user": "u\r\n"}, "invalid_value", "user"),
    row("H61", {"cache": {"ttl": -1}}, "out_of_range", "cache.ttl"),
    row("H61", {"cache": {"ttl": 10**12}}, "out_of_range", "cache.ttl"),
    row("H61", {"cache": {"max-age": 1.5}}, "invalid_type", "cache.max-age"),
    row("H61", {"cache": {"namespace": "a b"}}, "invalid_value", "cache.namespace"),
    row("H61", {"cache": {"namespace": "../other"}}, "invalid_value", "cache.namespace"),
    row("H61", {"cache": {"no-cache": 1}}, "invalid_type", "cache.no-cache"),
    row("H61", {"cache": {"tenant": "other"}}, "unknown_parameter", "cache"),
    row("H61", {"cache": True}, "invalid_type", "cache"),
    row("H63", {"input": ["x"] * 2_049}, "invalid_value", "input", EMBED),
    row("H63", {"input": [[1]] * 2_049}, "invalid_value", "input", EMBED),
    row("H63", {"input": ""}, "invalid_value", "input", EMBED),
    row("H63", {"input": ["x", ""]}, "invalid_value", "input[1]", EMBED),
    row("H63", {"input": []}, "invalid_value", "input", EMBED),
    row("H63", {"input": [[]]}, "invalid_value", "input[0]", EMBED),
    row("H63", {"input": [-1]}, "out_of_range", "input", EMBED),
    row("H63", {"input": [[1, 2**31]]}, "out_of_range", "input[0]", EMBED),
    row("H63", {"input": [1, "x"]}, "invalid_type", "input[1]", EMBED),
    row("H63", {"input": ["x", 1]}, "invalid_type", "input[1]", EMBED),
    row("H63", {"input": [[1], "x"]}, "invalid_type", "input[1]", EMBED),
    row("H63", {"input": [True]}, "invalid_type", "input[0]", EMBED),
    row("H63", {"input": [[True]]}, "invalid_type", "input[0][0]", EMBED),
    row("H63", {"input": 1}, "invalid_type", "input", EMBED),
    row("H63", {"input": None}, "invalid_type", "input", EMBED),
    row("H63", {"input": ...}, MISSING, "input", EMBED),
    row("H63", {"encoding_format": "hex"}, "invalid_value", "encoding_format", EMBED),
    row("H63", {"encoding_format": 1}, "invalid_type", "encoding_format", EMBED),
    row("H63", {"dimensions": 0}, "out_of_range", "dimensions", EMBED),
    row("H63", {"prompt": []}, "invalid_value", "prompt", TEXT),
    row("H63", {"prompt": {"text": "x"}}, "invalid_type", "prompt", TEXT),
]


@pytest.mark.parametrize(("operation", "body", "code", "param"), ROWS)
def test_a_bad_field_is_refused_with_code_and_path(
    operation: Operation, body: dict[str, Any], code: str, param: str
) -> None:
    """Each row of the catalogue is a 400 that names the field as OpenAI writes it."""
    error = admit(operation, msgspec.json.encode(body), limits=Limits())
    assert isinstance(error, PublicError)
    assert (error.code, error.param) == (code, param)
    assert error.meaning.status == 400
    assert error.meaning.type == "invalid_request_error"
    assert f"'{param}'" in error.message


@pytest.mark.parametrize(("operation", "body", "code", "param"), ROWS)
def test_a_message_is_short_and_holds_one_line(
    operation: Operation, body: dict[str, Any], code: str, param: str
) -> None:
    """No message echoes more than 64 characters of the caller's text or breaks a log line."""
    error = admit(operation, msgspec.json.encode(body), limits=Limits())
    assert isinstance(error, PublicError)
    assert len(error.message) < 350
    assert error.message.isprintable()
    assert b"\\n" not in error_document(error)


def test_a_body_is_bounded_by_the_operators_limit() -> None:
    """H13: the operator's own limit holds, below the largest possible one."""
    error = admit(CHAT, msgspec.json.encode(BODIES[CHAT]), limits=Limits(max_body_bytes=20))
    assert isinstance(error, PublicError)
    assert (error.code, error.meaning.status) == ("body_too_large", 413)


def test_depth_is_bounded_before_a_schema_is_looked_at() -> None:
    """H36: a schema of depth 100 is refused by the parser."""
    schema: dict[str, Any] = {}
    for _ in range(100):
        schema = {"properties": {"a": schema}}
    described = {"type": "function", "function": {"name": "f", "parameters": schema}}
    body = msgspec.json.encode({**BODIES[CHAT], "tools": [described]})
    error = admit(CHAT, body, limits=Limits())
    assert isinstance(error, PublicError)
    assert error.code == "json_too_deep"


def test_a_refused_credential_is_not_repeated() -> None:
    """The message names the field, never its value."""
    body = msgspec.json.encode({**BODIES[CHAT], "api_key": "sk-secret"})
    error = admit(CHAT, body, limits=Limits())
    assert isinstance(error, PublicError)
    assert "sk-secret" not in error.message
