"""The catalogue of bad input over HTTP as a table: each row a request and its answer.

The rows bear the catalogue's numbers (H = HTTP). What breaks HTTP itself is in
``tests/e2e/test_bad_http.py``.
"""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from tests.support.http_bytes import body_of, chat_body

MIB = 1024 * 1024
CHAT, COMPLETE, EMBED = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"


class Row(NamedTuple):
    """A request and its answer.

    Attributes:
        status: HTTP status.
        code: Code of the error; empty = it is served.
        body: The body.
        path: The path.
        headers: Headers beside the usual ones; None leaves a usual one out.
        param: Field at fault; None = whichever.
    """

    status: int
    code: str
    body: bytes = b""
    path: str = CHAT
    headers: Mapping[str, str | None] = MappingProxyType({})
    param: str | None = None


def bad(code: str, param: str | None = None, **fields: Any) -> Row:
    """A chat whose fields are refused with 400."""
    return Row(400, code, chat_body(**fields), param=param)


def message(**fields: Any) -> list[dict[str, Any]]:
    """A conversation of one message."""
    return [fields]


def nested(depth: int) -> bytes:
    """A chat with a field of so many arrays inside one another."""
    return chat_body()[:-1] + b',"x":' + b"[" * depth + b"]" * depth + b"}"


def raw_field(text: bytes) -> bytes:
    """A chat with a field written as it is."""
    return chat_body()[:-1] + b"," + text + b"}"


def tool(name: str = "f", **function: Any) -> dict[str, Any]:
    """A tool."""
    return {"type": "function", "function": {"name": name, **function}}


def schema_format(schema: dict[str, Any]) -> dict[str, Any]:
    """A response format that demands a schema."""
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
ASKED = {"role": "user", "content": "x"}
CALLED = {"role": "assistant", "tool_calls": [CALL]}
ANSWERED = {"role": "tool", "tool_call_id": "c1", "content": "x"}
CIRCLE = {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}

JSON_ROWS = {
    "H1_empty": Row(400, "json_empty"),
    "H1_blank": Row(400, "json_empty", b" \r\n\t "),
    "H2_truncated": Row(400, "json_invalid", chat_body()[:-5]),
    "H2_trailing": Row(400, "json_invalid", chat_body() + b"x"),
    "H2_two_documents": Row(400, "json_invalid", chat_body() * 2),
    "H2_python": Row(400, "json_invalid", b"{'model': None}"),
    "H3_null": Row(400, "body_not_object", b"null"),
    "H3_array": Row(400, "body_not_object", b"[" + chat_body() + b"]"),
    "H3_string": Row(400, "body_not_object", b'"chat"'),
    "H3_number": Row(400, "body_not_object", b"1"),
    "H4_twice": Row(400, "duplicate_key", raw_field(b'"model":"other"')),
    "H4_twice_escaped": Row(400, "duplicate_key", raw_field(rb'"\u006dodel":"other"')),
    "H4_twice_inside": Row(400, "duplicate_key", raw_field(b'"metadata":{"a":"1","a":"2"}')),
    "H5_nan": Row(400, "json_invalid", raw_field(b'"temperature":NaN')),
    "H5_infinity": Row(400, "json_invalid", raw_field(b'"temperature":-Infinity')),
    "H5_1e999": Row(400, "json_invalid", raw_field(b'"temperature":1e999')),
    "H6_65": Row(400, "json_too_deep", nested(65)),
    "H6_500": Row(400, "json_too_deep", nested(500)),
    "H6_2000": Row(400, "json_too_deep", nested(2_000)),
    "H6_100000": Row(400, "json_too_deep", nested(100_000)),
    "H7_5000_digits": Row(400, "out_of_range", raw_field(b'"seed":' + b"9" * 5_000)),
    "H7_20_digits": Row(400, "out_of_range", raw_field(b'"max_tokens":' + b"9" * 20)),
    "H8_not_utf8": Row(400, "json_invalid", raw_field(b'"user":"\xff"')),
    "H9_lone_surrogate": Row(400, "json_invalid", raw_field(rb'"user":"\ud800"')),
    "H9_cesu_8": Row(400, "json_invalid", raw_field(b'"user":"\xed\xa0\xbd\xed\xb8\x80"')),
    "H10_nul_in_model": Row(400, "invalid_value", body_of(model="sim\0"), param="model"),
    "H10_nul_in_user": bad("invalid_value", "user", user="a\0"),
    "H10_nul_in_metadata_key": bad("invalid_value", "metadata", metadata={"a\0": "x"}),
    "H10_nul_in_content": Row(200, "", chat_body(messages=message(role="user", content="a\0b"))),
    "H11_bom": Row(400, "json_invalid", b"\xef\xbb\xbf" + chat_body()),
    "H11_utf16": Row(400, "json_invalid", chat_body().decode().encode("utf-16")),
    "H11_latin1": Row(
        415,
        "unsupported_media_type",
        chat_body(),
        headers={"content-type": "application/json; charset=latin1"},
    ),
    "H12_none": Row(415, "unsupported_media_type", chat_body(), headers={"content-type": None}),
    "H12_text": Row(
        415, "unsupported_media_type", chat_body(), headers={"content-type": "text/plain"}
    ),
    "H12_form": Row(
        415,
        "unsupported_media_type",
        b"model=x",
        headers={"content-type": "application/x-www-form-urlencoded"},
    ),
    "H14_gzip": Row(
        415, "unsupported_media_type", b"\x1f\x8b" + bytes(99), headers={"content-encoding": "gzip"}
    ),
    "H14_twice": Row(
        415,
        "unsupported_media_type",
        b"\x1f\x8b" + bytes(99),
        headers={"content-encoding": "gzip, gzip"},
    ),
}
FIELD_ROWS = {
    "H29_unknown": Row(404, "model_not_found", body_of(model="gpt-nothing"), param="model"),
    "H29_no_string": Row(400, "invalid_type", body_of(model=7), param="model"),
    "H29_missing": Row(400, "missing_required_parameter", b'{"messages":[]}', param="model"),
    **{
        f"H30_{name}": bad("unknown_parameter", name, **{name: "http://127.0.0.1:1"})
        for name in ("api_base", "base_url", "custom_host", "extra_headers", "api_key", "proxy")
    },
    "H31_unknown_field": Row(200, "", chat_body(frobnicate={"x": 1})),
    "H32_missing": Row(
        400, "missing_required_parameter", b'{"model":"sim-fast"}', param="messages"
    ),
    "H32_none": bad("invalid_value", "messages", messages=[]),
    "H32_too_many": bad("invalid_value", "messages", messages=[ASKED] * 10_001),
    "H32_no_list": bad("invalid_type", "messages", messages="hello"),
    "H32_null": bad("invalid_type", "messages", messages=None),
    "H33_root": bad("invalid_role", "messages[0].role", messages=message(role="root", content="x")),
    "H33_case": bad(
        "invalid_role", "messages[0].role", messages=message(role="System", content="x")
    ),
    "H33_empty": bad("invalid_role", messages=message(role="", content="x")),
    "H33_number": bad("invalid_role", messages=message(role=1, content="x")),
    "H33_missing": bad("missing_required_parameter", messages=message(content="x")),
    "H34_null": bad(
        "invalid_type", "messages[0].content", messages=message(role="user", content=None)
    ),
    "H34_null_of_assistant": bad("invalid_type", messages=message(role="assistant", content=None)),
    "H34_number": bad("invalid_type", messages=message(role="user", content=7)),
    "H34_unknown_part": bad(
        "invalid_value", messages=message(role="user", content=[{"type": "video"}])
    ),
    "H34_large_image": bad(
        "invalid_value",
        messages=message(
            role="user",
            content=[
                {
                    "type": "image_url",
                    "image_url": {"url": "data:image/png;base64," + "A" * MIB},
                }
            ],
        ),
    ),
    "H35_no_id": bad(
        "missing_required_parameter",
        messages=[ASKED, CALLED, {"role": "tool", "content": "x"}],
    ),
    "H35_unknown_id": bad(
        "invalid_value", messages=[ASKED, CALLED, ANSWERED | {"tool_call_id": "c2"}]
    ),
    "H35_answered_twice": bad("invalid_value", messages=[ASKED, CALLED, ANSWERED, ANSWERED]),
    "H35_two_of_one_id": bad(
        "invalid_value", messages=[ASKED, {"role": "assistant", "tool_calls": [CALL, CALL]}]
    ),
    "H36_129": bad("invalid_value", "tools", tools=[tool(f"f{n}") for n in range(129)]),
    "H36_name_with_spaces": bad(
        "invalid_value", "tools[0].function.name", tools=[tool("get weather")]
    ),
    "H36_long_name": bad("invalid_value", tools=[tool("f" * 65)]),
    "H36_ref_loop": bad("invalid_value", tools=[tool(parameters=CIRCLE)]),
    "H36_deep_schema": Row(
        400,
        "json_too_deep",
        chat_body(tools=[tool(parameters=json.loads("[" * 100 + "]" * 100))]),
    ),
    "H36_explosive_pattern": bad(
        "invalid_value", tools=[tool(parameters={"type": "string", "pattern": "(a+)+$"})]
    ),
    "H37_absent_function": bad(
        "invalid_value",
        "tool_choice",
        tools=[tool("f")],
        tool_choice={"type": "function", "function": {"name": "g"}},
    ),
    "H37_nothing_to_choose": bad("invalid_value", "tool_choice", tool_choice="required"),
    "H38_large_schema": bad(
        "invalid_value", response_format=schema_format({"description": "x" * MIB})
    ),
    **{
        f"H39_{number}": Row(400, code, raw_field(b'"max_tokens":' + number.encode()))
        for number, code in {
            "0": "out_of_range",
            "-1": "out_of_range",
            "1e9": "out_of_range",
            "1.5": "invalid_type",
            '"10"': "invalid_type",
            "true": "invalid_type",
        }.items()
    },
    "H40_below": bad("out_of_range", "temperature", temperature=-1),
    "H40_above": bad("out_of_range", "temperature", temperature=3),
    "H40_text": bad("invalid_type", "temperature", temperature="hot"),
    "H40_null": Row(200, "", chat_body(temperature=None)),
    "H41_0": bad("out_of_range", "n", n=0),
    "H41_9": bad("out_of_range", "n", n=9),
    "H41_129": bad("out_of_range", "n", n=129),
    "H41_1e6": bad("out_of_range", "n", n=1_000_000),
    "H42_top_logprobs": bad("out_of_range", "top_logprobs", top_logprobs=1_000_000),
    "H42_many_biases": bad(
        "invalid_value", "logit_bias", logit_bias={str(n): 1 for n in range(100_000)}
    ),
    "H42_bias": bad("out_of_range", "logit_bias", logit_bias={"1": 101}),
    "H43_five": bad("invalid_value", "stop", stop=["a"] * 5),
    "H43_empty": bad("invalid_value", "stop", stop=""),
    "H43_long": bad("invalid_value", "stop", stop="x" * 10_000),
    "H44_seed": Row(400, "out_of_range", raw_field(b'"seed":9223372036854775808'), param="seed"),
    "H44_user": bad("invalid_value", "user", user="u" * 10_000),
    "H44_metadata": bad("invalid_value", "metadata", metadata={str(n): "x" for n in range(17)}),
    "H45_stream": bad("invalid_type", "stream", stream="true"),
    "H45_options": bad("invalid_value", "stream_options", stream_options={"include_usage": True}),
    "H46_context": Row(
        400,
        "context_length_exceeded",
        chat_body(model="sim-fast:context=50", messages=message(role="user", content="x " * 500)),
    ),
    "H56_model": Row(400, "invalid_value", body_of(model="x\r\nset-cookie: a=b"), param="model"),
    "H56_user": bad("invalid_value", "user", user="x\r\nset-cookie: a=b"),
    "H56_metadata_key": bad("invalid_value", "metadata", metadata={"a\r\nb": "x"}),
    "H61_namespace": bad("invalid_value", cache={"namespace": "../other"}),
    "H61_unknown": bad("unknown_parameter", "cache", cache={"tenant": "other"}),
    "H61_negative": bad("out_of_range", "cache.ttl", cache={"ttl": -1}),
    "H61_1e12": bad("out_of_range", "cache.ttl", cache={"ttl": 10**12}),
    "H61_header": Row(
        400, "invalid_header", chat_body(), headers={"cache-control": "max-age=1000000000000"}
    ),
    "H63_2049": Row(
        400,
        "invalid_value",
        body_of(model="millrace-embed", input=["x"] * 2_049),
        EMBED,
        param="input",
    ),
    "H63_empty": Row(400, "invalid_value", body_of(model="millrace-embed", input=""), EMBED),
    "H63_empty_inside": Row(
        400, "invalid_value", body_of(model="millrace-embed", input=["x", ""]), EMBED
    ),
    "H63_nothing": Row(400, "invalid_value", body_of(model="millrace-embed", input=[]), EMBED),
    "H63_token_id": Row(400, "out_of_range", body_of(model="millrace-embed", input=[1, -1]), EMBED),
    "H63_large_token_id": Row(
        400, "out_of_range", body_of(model="millrace-embed", input=[[1, 10**9]]), EMBED
    ),
    "H63_mixed": Row(400, "invalid_type", body_of(model="millrace-embed", input=["x", 1]), EMBED),
    "prompts_times_n": Row(
        400,
        "out_of_range",
        body_of(model="sim-fast", prompt=["x"] * 2_000, n=8),
        COMPLETE,
        param="n",
    ),
}
KEY_ID = "0123abcd"
HEADER_ROWS = {
    "H20_authorization": Row(
        401, "invalid_api_key", chat_body(), headers={"authorization": "Bearer \xe4\xf6"}
    ),
    "H20_traceparent": Row(200, "", chat_body(), headers={"traceparent": "\xe4" * 55}),
    "H26_none": Row(401, "invalid_api_key", chat_body(), headers={"authorization": None}),
    "H26_empty": Row(401, "invalid_api_key", chat_body(), headers={"authorization": ""}),
    "H26_scheme": Row(
        401, "invalid_api_key", chat_body(), headers={"authorization": "Basic dXNlcjpwdw=="}
    ),
    "H26_unknown": Row(
        401,
        "invalid_api_key",
        chat_body(),
        headers={"authorization": f"Bearer gw_dev_{KEY_ID}_{'A' * 43}_00000000"},
    ),
    "H27_quotes": Row(
        401, "invalid_api_key", chat_body(), headers={"authorization": 'Bearer \' OR "1"="1'}
    ),
    "H27_wildcard": Row(401, "invalid_api_key", chat_body(), headers={"authorization": "Bearer *"}),
    "H27_percent": Row(
        401, "invalid_api_key", chat_body(), headers={"authorization": "Bearer %s%n%00"}
    ),
    "H27_long": Row(
        401, "invalid_api_key", chat_body(), headers={"authorization": f"Bearer {'k' * 15_000}"}
    ),
    "H28_tenant": Row(
        200, "", chat_body(metadata={"tenant": "other"}), headers={"x-tenant-id": "other"}
    ),
    **{
        f"H54_{name}": Row(200, "", chat_body(), headers=headers)
        for name, headers in {
            "malformed": {"traceparent": "nonsense"},
            "zeros": {"traceparent": f"00-{'0' * 32}-{'0' * 16}-01"},
            "version_ff": {"traceparent": f"ff-{'a' * 32}-{'b' * 16}-01"},
            "large_state": {
                "traceparent": f"00-{'a' * 32}-{'b' * 16}-01",
                "tracestate": "v=" + "x" * 10_000,
            },
            "baggage": {"baggage": "k=v"},
        }.items()
    },
    "H57_accept": Row(200, "", chat_body(), headers={"accept": "text/xml"}),
    "H57_origin": Row(200, "", chat_body(), headers={"origin": "https://evil.example"}),
    "deadline": Row(400, "invalid_header", chat_body(), headers={"x-millrace-deadline-ms": "soon"}),
    "priority": Row(400, "invalid_header", chat_body(), headers={"x-millrace-priority": "9"}),
    "feature": Row(400, "invalid_value", chat_body(), headers={"x-millrace-feature": "a b"}),
}

ROWS = JSON_ROWS | FIELD_ROWS | HEADER_ROWS
