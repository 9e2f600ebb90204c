"""The schemas of the OpenAPI document: what admission accepts and what is answered.

A schema says what it can of a rule; what fields must agree about (a tool's answer follows its call,
a choice names an offered tool) is in the descriptions. Optional fields may be ``null``.
"""

from typing import Any

from services.shared.domain.admission.limits import (
    MAX_CACHE_AGE_S,
    MAX_CHOICES,
    MAX_DIMENSIONS,
    MAX_INPUTS,
    MAX_LABEL_CHARS,
    MAX_MESSAGES,
    MAX_METADATA_ENTRIES,
    MAX_METADATA_VALUE_CHARS,
    MAX_NAME_CHARS,
    MAX_OUTPUT_TOKENS,
    MAX_STOP_CHARS,
    MAX_STOPS,
    MAX_TOKEN_ID,
    MAX_TOOLS,
    MAX_USER_CHARS,
)

Schema = dict[str, Any]

_INT64_MAX = 2**63 - 1
_TEXT: Schema = {"type": "string"}
_FLAG: Schema = {"type": ["boolean", "null"]}
_OBJECT: Schema = {"type": "object"}
_TOKEN_IDS: Schema = {
    "type": "array",
    "minItems": 1,
    "items": {"type": "integer", "minimum": 0, "maximum": MAX_TOKEN_ID},
}


def _number(low: float, high: float, kind: str = "number") -> Schema:
    return {"type": [kind, "null"], "minimum": low, "maximum": high}


def _integer(low: int, high: int) -> Schema:
    return _number(low, high, "integer")


def _printable(max_chars: int, *, least: int = 1) -> Schema:
    """Printable ASCII, which is less than is accepted."""
    return {"type": "string", "pattern": f"^[ -~]{{{least},{max_chars}}}$"}


def _optional(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _inputs(*, least_chars: int) -> Schema:
    one = {"type": "string", "minLength": least_chars}
    return {
        "description": "A text, texts, the token ids of a text, or of several.",
        "anyOf": [
            one,
            {"type": "array", "minItems": 1, "maxItems": MAX_INPUTS, "items": one},
            _TOKEN_IDS,
            {"type": "array", "minItems": 1, "maxItems": MAX_INPUTS, "items": _TOKEN_IDS},
        ],
    }


def _array(item: Schema, *, most: int, least: int = 0) -> Schema:
    return {"type": "array", "items": item, "minItems": least, "maxItems": most}


def _shape(properties: Schema, *required: str) -> Schema:
    return {"type": "object", "required": list(required), "properties": properties}


_IDENTIFIER = {"type": "string", "pattern": "^[a-zA-Z0-9_-]{1,64}$"}
_LABEL = {"type": "string", "pattern": f"^[A-Za-z0-9_.:-]{{1,{MAX_LABEL_CHARS}}}$"}
_MODEL = {
    **_printable(MAX_NAME_CHARS),
    "description": "An alias; GET /v1/models lists them.",
    "examples": ["millrace-demo"],
}
_CACHE = {
    "description": "What the cache may do; never sent to a provider.",
    "type": ["object", "null"],
    "additionalProperties": False,
    "properties": {
        "no-cache": _FLAG,
        "no-store": _FLAG,
        "max-age": _integer(0, MAX_CACHE_AGE_S),
        "s-maxage": _integer(0, MAX_CACHE_AGE_S),
        "ttl": _integer(0, MAX_CACHE_AGE_S),
        "namespace": _optional(_LABEL),
        "no-semantic": _FLAG,
        "min-similarity": _number(0, 1),
    },
}
_COMMON: Schema = {
    "model": _MODEL,
    "user": _optional(_printable(MAX_USER_CHARS, least=0)),
    "metadata": {
        "type": ["object", "null"],
        "maxProperties": MAX_METADATA_ENTRIES,
        "propertyNames": {"pattern": "^[ -~]{1,64}$"},
        "additionalProperties": {"type": "string", "maxLength": MAX_METADATA_VALUE_CHARS},
    },
    "cache": _CACHE,
    "store": _FLAG,
}
_SAMPLING: Schema = {
    "stream": _FLAG,
    "stream_options": {
        "description": "Only together with stream: true.",
        "type": ["object", "null"],
        "properties": {"include_usage": _FLAG, "include_obfuscation": _FLAG},
    },
    "max_tokens": _integer(1, MAX_OUTPUT_TOKENS),
    "temperature": _number(0, 2),
    "top_p": _number(0, 1),
    "frequency_penalty": _number(-2, 2),
    "presence_penalty": _number(-2, 2),
    "n": _integer(1, MAX_CHOICES),
    "seed": _integer(-_INT64_MAX, _INT64_MAX),
    "stop": {
        "anyOf": [
            {"type": "string", "minLength": 1, "maxLength": MAX_STOP_CHARS},
            _array({"type": "string", "minLength": 1, "maxLength": MAX_STOP_CHARS}, most=MAX_STOPS),
            {"type": "null"},
        ]
    },
}


def _part(kind: str, **fields: Schema) -> Schema:
    return _shape({"type": {"const": kind}, **fields}, "type", *fields)


_TEXT_PART = _part("text", text=_TEXT)
_IMAGE_PART = _part(
    "image_url", image_url=_shape({"url": {"type": "string", "minLength": 1}}, "url")
)


def _content(*parts: Schema) -> Schema:
    return {"anyOf": [_TEXT, _array({"anyOf": list(parts)}, least=1, most=10_000)]}


def _message(role: str, content: Schema, **more: Schema) -> Schema:
    return _shape({"role": {"const": role}, "content": content, **more}, "role", "content", *more)


_MESSAGE: Schema = {
    "description": "A tool message answers a call of an assistant message before it.",
    "oneOf": [
        _message("system", _content(_TEXT_PART)),
        _message("developer", _content(_TEXT_PART)),
        _message("user", _content(_TEXT_PART, _IMAGE_PART)),
        {
            "type": "object",
            "required": ["role"],
            "properties": {
                "role": {"const": "assistant"},
                "content": _optional(_content(_TEXT_PART)),
                "tool_calls": {"type": ["array", "null"], "items": _OBJECT},
            },
        },
        _message("tool", _content(_TEXT_PART), tool_call_id=_printable(64)),
        _shape({"role": {"const": "function"}, "name": _printable(64)}, "role", "name"),
    ],
}
_TOOL = _part(
    "function",
    function=_shape(
        {"name": _IDENTIFIER, "description": _optional(_TEXT), "strict": _FLAG}, "name"
    ),
)
CHAT = _shape(
    {
        **_COMMON,
        **_SAMPLING,
        "messages": _array(_MESSAGE, least=1, most=MAX_MESSAGES),
        "max_completion_tokens": _integer(1, MAX_OUTPUT_TOKENS),
        "logprobs": _FLAG,
        "top_logprobs": _integer(0, 20),
        "tools": {
            "type": ["array", "null"],
            "minItems": 1,
            "maxItems": MAX_TOOLS,
            "items": {**_OBJECT, "anyOf": [_TOOL], "required": ["type"]},
        },
        "tool_choice": {
            "description": "A word, or an object that names an offered tool.",
            "anyOf": [{"enum": ["none", "auto", "required"]}, _OBJECT, {"type": "null"}],
        },
        "parallel_tool_calls": _FLAG,
        "response_format": {
            "type": ["object", "null"],
            "required": ["type"],
            "properties": {"type": _TEXT},
        },
    },
    "model",
    "messages",
)
COMPLETION = _shape(
    {
        **_COMMON,
        **_SAMPLING,
        "prompt": _optional(_inputs(least_chars=0)),
        "suffix": _optional(_TEXT),
        "echo": _FLAG,
        "logprobs": _integer(0, 5),
        "best_of": _integer(1, MAX_CHOICES),
    },
    "model",
)
EMBEDDINGS = _shape(
    {
        **_COMMON,
        "input": _inputs(least_chars=1),
        "encoding_format": {"enum": ["float", "base64", None]},
        "dimensions": _integer(1, MAX_DIMENSIONS),
    },
    "model",
    "input",
)

_CHOICES = {"type": "array", "minItems": 1, "items": _OBJECT}
_ANSWER = {"id": _TEXT, "model": _TEXT, "created": {"type": "integer"}, "choices": _CHOICES}
CHAT_ANSWER = _shape({**_ANSWER, "object": {"const": "chat.completion"}}, "id", "object", "choices")
COMPLETION_ANSWER = _shape(
    {**_ANSWER, "object": {"const": "text_completion"}}, "id", "object", "choices"
)
EMBEDDINGS_ANSWER = _shape(
    {"object": {"const": "list"}, "data": {"type": "array", "minItems": 1, "items": _OBJECT}},
    "object",
    "data",
)
MODEL = _shape(
    {
        "id": _TEXT,
        "object": {"const": "model"},
        "created": {"type": "integer"},
        "owned_by": _TEXT,
    },
    "id",
    "object",
    "created",
    "owned_by",
)
MODELS = _shape(
    {"object": {"const": "list"}, "data": {"type": "array", "items": MODEL}}, "object", "data"
)
REQUEST = _shape(
    {
        "id": _TEXT,
        "object": {"const": "millrace.request"},
        "status": {"enum": ["in_progress", "completed", "failed", "cancelled", "expired"]},
        "model": _TEXT,
        "accepted_at": {"type": "integer", "description": "Unix ms."},
    },
    "id",
    "object",
    "status",
    "accepted_at",
)
_SOURCE: Schema = {"enum": ["user", "judge"]}
_SCORE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
FEEDBACK: Schema = {
    "type": "object",
    "properties": {
        "score": {**_SCORE, "description": "0 = bad .. 1 = good."},
        "thumb": {"enum": ["up", "down"], "description": "Instead of a score."},
        "source": {**_SOURCE, "default": "user"},
    },
    "oneOf": [{"required": ["score"]}, {"required": ["thumb"]}],
    "additionalProperties": False,
}
FEEDBACK_ANSWER = _shape(
    {
        "id": _TEXT,
        "object": {"const": "millrace.feedback"},
        "request_id": _TEXT,
        "source": _SOURCE,
        "score": _SCORE,
        "created_at": {"type": "integer", "description": "Unix ms."},
    },
    "id",
    "object",
    "request_id",
    "source",
    "score",
    "created_at",
)
ERROR = _shape(
    {
        "error": _shape(
            {
                "message": _TEXT,
                "type": _TEXT,
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
            "message",
            "type",
            "param",
            "code",
        )
    },
    "error",
)
