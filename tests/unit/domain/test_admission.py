"""Bodies that are accepted, and what is read from them."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.domain.admission.admit import Admitted, admit
from services.shared.domain.admission.limits import Limits, limits_from_configuration
from services.shared.domain.configuration import Limits as ConfiguredLimits
from services.shared.domain.errors import ERRORS, PublicError
from services.shared.domain.events import CachePolicy, Operation
from tests.support.slow_examples import slow_examples

CHAT, TEXT, EMBED = Operation.CHAT, Operation.TEXT_COMPLETION, Operation.EMBEDDINGS
ASK = {"role": "user", "content": "Hi"}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CUSTOM_CALL = {"id": "c2", "type": "custom", "custom": {"name": "g", "input": "x"}}
FUNCTION = {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": None}
TOOLS = [
    {"type": "function", "function": FUNCTION},
    {"type": "custom", "custom": {"name": "g", "format": {"type": "text"}}},
    {"type": "web_search", "anything": 1},
]
F = {"type": "function", "function": {"name": "f"}}
G = {"type": "custom", "custom": {"name": "g"}}
IMAGE = {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}}
USER_PARTS = [
    {"type": "text", "text": ""},
    IMAGE,
    {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}},
    {"type": "file", "file": {"file_id": "file-1"}},
]


def admitted(operation: Operation, document: dict[str, Any]) -> Admitted:
    """Admit a body that must be accepted."""
    result = admit(operation, msgspec.json.encode(document), limits=Limits())
    assert isinstance(result, Admitted), result
    return result


CONVERSATIONS: dict[str, list[dict[str, Any]]] = {
    "every-role": [
        {"role": "system", "content": "s"},
        {"role": "developer", "content": [{"type": "text", "text": "d"}]},
        {"role": "user", "content": "u", "name": "Ann"},
        {"role": "assistant", "content": "a"},
        {"role": "function", "name": "f", "content": None},
    ],
    "user-parts": [{"role": "user", "content": USER_PARTS}],
    "assistant-parts": [
        {"role": "assistant", "content": [{"type": "text", "text": "a"}]},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
    ],
    "null-content-with-tool-calls": [
        {"role": "assistant", "content": None, "tool_calls": [CALL, CUSTOM_CALL]},
        {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "2"}]},
        {"role": "tool", "tool_call_id": "c1", "content": ""},
    ],
    "no-content-with-function-call": [
        {"role": "assistant", "function_call": {"name": "f", "arguments": ""}},
    ],
    "a-message-as-the-sdk-returns-it": [
        {
            "role": "assistant",
            "content": "a",
            "refusal": None,
            "annotations": [],
            "audio": None,
            "function_call": None,
            "tool_calls": None,
        },
    ],
    "refusal": [{"role": "assistant", "content": None, "refusal": "no"}],
    "audio-answer": [{"role": "assistant", "content": None, "audio": {"id": "audio_1"}}],
    "an-id-used-again-after-its-answer": [
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "1"},
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "1"},
    ],
    "calls-of-an-unknown-type": [
        {"role": "assistant", "tool_calls": [{"id": "c9", "type": "search"}]},
        {"role": "tool", "tool_call_id": "c9", "content": "1"},
    ],
    "H10-nul": [{"role": "user", "content": "a\0b"}],
    "H34-image-below-the-cap": [
        {
            "role": "user",
            "content": [
                {
                    "type": "image_url",
                    "image_url": {"url": "data:image/png;base64," + "A" * 900_000},
                }
            ],
        }
    ],
    "H47-line-ends": [{"role": "user", "content": "a\r\n\ndata: [DONE]\n\n\u2028\u2029\u0085"}],
    "longest": [ASK] * 10_000,
}


@pytest.mark.parametrize("messages", CONVERSATIONS.values(), ids=CONVERSATIONS.keys())
def test_conversations_that_openai_takes_are_accepted(messages: list[dict[str, Any]]) -> None:
    """Every form of message in OpenAI's API passes, and arrives as it was sent."""
    assert admitted(CHAT, {"model": "m", "messages": messages}).document["messages"] == messages


PARAMETERS: list[dict[str, Any]] = [
    {"tools": TOOLS, "tool_choice": choice, "parallel_tool_calls": False}
    for choice in (
        "none",
        "auto",
        "required",
        F,
        G,
        {"type": "web_search"},
        {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [F, G]}},
    )
] + [
    {"tool_choice": "none"},
    {"top_logprobs": 0},
    {"functions": [FUNCTION], "function_call": "auto"},
    {"functions": [FUNCTION], "function_call": {"name": "f"}},
    {"response_format": {"type": "text"}},
    {"response_format": {"type": "json_object"}},
    {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "s", "schema": {"$ref": "#/$defs/a", "$defs": {"a": {}}}},
        }
    },
    {"reasoning_effort": "minimal", "verbosity": "low", "service_tier": "flex", "store": True},
    {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}},
    {"modalities": ["text"], "audio": {"voice": {"id": "voice_1"}, "format": "wav"}},
    {"prediction": {"type": "content", "content": "x"}, "web_search_options": {}},
    {"prediction": {"type": "content", "content": [{"type": "text", "text": "x"}]}},
    {"metadata": {str(i): "x" for i in range(16)}, "user": "", "safety_identifier": "s"},
    {"metadata": {"k" * 64: "v" * 512}, "prompt_cache_key": "k"},
    {"logit_bias": {"50256": -100, "0": 1.5}, "stop": ["a", "\n", "b", "c"], "seed": -(2**63)},
    {"stop": "END", "seed": 2**63 - 1, "n": 8, "logprobs": True, "top_logprobs": 20},
    {"temperature": 2, "top_p": 0, "frequency_penalty": -2, "presence_penalty": 2.0},
    {"stream": True, "stream_options": {"include_usage": None, "include_obfuscation": False}},
    {"stream": True, "n": 2},
    {"max_completion_tokens": 1_000_000, "max_tokens": None},
    {"top_k": 40, "min_p": 0.1, "guided_regex": "x", "thinking": {"budget_tokens": 1}},
    {"prompt_cache_retention": "24h", "stop_token_ids": [1], "max_tokens_per_step": 4},
    dict.fromkeys(
        (
            "user",
            "metadata",
            "stop",
            "n",
            "seed",
            "tools",
            "tool_choice",
            "stream",
            "functions",
            "function_call",
            "stream_options",
            "logit_bias",
            "response_format",
            "temperature",
            "cache",
            "max_tokens",
            "max_completion_tokens",
            "reasoning_effort",
            "audio",
            "prediction",
        )
    ),
]


@pytest.mark.parametrize("parameters", PARAMETERS, ids=lambda given: "-".join(given)[:60])
def test_parameters_that_clients_rely_on_are_accepted(parameters: dict[str, Any]) -> None:
    """Known parameters pass in all their forms, null means default, unknown ones are kept."""
    document = {"model": "openai/gpt-4o:free@2", "messages": [ASK], **parameters}
    assert admitted(CHAT, document).document == document


OTHER_PROVIDERS_FIELDS = [
    "top_k",
    "min_p",
    "repetition_penalty",
    "guided_json",
    "guided_regex",
    "chat_template_kwargs",
    "stop_token_ids",
    "ignore_eos",
    "allowed_token_ids",
    "bad_words",
    "skip_special_tokens",
    "truncate_prompt_tokens",
    "prompt_logprobs",
    "cache_salt",
    "prompt_cache_options",
    "provider",
    "models",
    "route",
    "transforms",
    "plugins",
    "reasoning",
    "include_reasoning",
    "thinking",
    "enable_thinking",
    "thinking_budget",
    "search_parameters",
    "deferred",
    "safe_prompt",
    "random_seed",
    "prompt_mode",
    "documents",
    "citation_options",
    "session_id",
    "user_id",
    "request_id",
    "priority",
    "extra_body",
    "base_model",
    "tokens",
    "keywords",
    "moderation",
    "input_type",
    "late_chunking",
    "token_type_ids",
    "hosted",
    "authors",
]


@pytest.mark.parametrize("field", OTHER_PROVIDERS_FIELDS)
def test_fields_of_other_providers_are_no_addresses(field: str) -> None:
    """H31: what only resembles an address or a credential is passed on."""
    assert admitted(CHAT, {"model": "m", "messages": [ASK], field: "x"}).document[field] == "x"


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"prompt": None},
        {"prompt": ""},
        {"prompt": ["a", ""]},
        {"prompt": [1, 2]},
        {"prompt": [[1], [2, 3]], "n": 2, "best_of": 2},
        {"prompt": "a", "suffix": "b", "echo": True, "logprobs": 5, "max_tokens": 16},
    ],
    ids=str,
)
def test_text_completions_are_accepted(document: dict[str, Any]) -> None:
    """A prompt comes as text, texts, token ids or arrays of those, or not at all."""
    assert admitted(TEXT, {"model": "m", **document}).model == "m"


@pytest.mark.parametrize(
    "document",
    [
        {"input": "a"},
        {"input": ["a"] * 2_048, "encoding_format": "base64", "dimensions": 256},
        {"input": [1] * 8_000, "encoding_format": None},
        {"input": [[0], [1_000_000]], "user": "u"},
        {"input": "a", "input_type": "query", "temperature": "unknown here"},
    ],
    ids=lambda document: str(document)[:40],
)
def test_embeddings_are_accepted(document: dict[str, Any]) -> None:
    """An input comes as text, texts, token ids or arrays of those."""
    assert admitted(EMBED, {"model": "m", **document}).document["input"] == document["input"]


def test_everything_that_processors_decide_on_is_read_from_a_chat() -> None:
    """Each extracted field says what the body says."""
    result = admitted(
        CHAT,
        {
            "model": "m",
            "messages": [{"role": "user", "content": [IMAGE]}],
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_completion_tokens": 7,
            "temperature": 1,
            "n": 3,
            "tools": TOOLS,
            "response_format": {"type": "json_object"},
            "user": "u",
            "cache": {"no-store": True, "ttl": 60, "max-age": 30, "namespace": "n"},
        },
    )
    assert result.model == "m"
    assert result.stream
    assert result.include_usage
    assert result.max_output_tokens == 7
    assert result.temperature == 1.0
    assert isinstance(result.temperature, float)
    assert result.choice_count == 3
    assert result.has_tools
    assert result.has_images
    assert result.has_response_format
    assert result.user == "u"
    assert result.estimated_input_tokens > 85
    assert result.cache_policy == CachePolicy(no_store=True, max_age_s=30, namespace="n")
    assert msgspec.json.decode(result.body) == result.document


def test_a_plain_chat_has_the_defaults() -> None:
    """What a body leaves out is the default of the record."""
    result = admitted(CHAT, {"model": "m", "messages": [ASK], "response_format": {"type": "text"}})
    flags = (result.stream, result.include_usage, result.has_tools, result.has_images)
    assert not any((*flags, result.has_response_format, result.user))
    assert (result.max_output_tokens, result.temperature, result.choice_count) == (0, None, 1)
    assert result.cache_policy == CachePolicy()


def test_functions_count_as_tools() -> None:
    """Functions are the older form of tools."""
    assert admitted(CHAT, {"model": "m", "messages": [ASK], "functions": [FUNCTION]}).has_tools


def test_a_text_completion_has_the_choices_of_all_its_prompts() -> None:
    """An answer holds ``n`` choices for every prompt; token ids are one prompt."""
    assert admitted(TEXT, {"model": "m", "prompt": ["a", "b"], "n": 3}).choice_count == 6
    assert admitted(TEXT, {"model": "m", "prompt": [1, 2], "n": 3}).choice_count == 3


def test_embeddings_read_no_parameters_of_other_operations() -> None:
    """A field that means nothing to an operation is passed on and not believed."""
    result = admitted(EMBED, {"model": "m", "input": "a", "stream": True, "n": "x", "tools": 5})
    assert not result.stream
    assert result.choice_count == 1
    assert not result.has_tools


def test_the_first_fault_in_the_order_of_the_body_is_reported() -> None:
    """A caller who mends fault after fault reads the body from top to bottom."""
    body = b'{"model": "m", "n": 0, "temperature": 9, "messages": []}'
    error = admit(CHAT, body, limits=Limits())
    assert isinstance(error, PublicError)
    assert error.param == "n"


def test_limits_come_from_the_configuration() -> None:
    """Seconds of the file become ms."""
    configured = ConfiguredLimits(request_timeout_s=1.5, max_deadline_s=60.0, max_body_bytes=2_048)
    assert limits_from_configuration(configured) == Limits(
        max_body_bytes=2_048, request_timeout_ms=1_500, max_deadline_ms=60_000
    )
    assert limits_from_configuration(ConfiguredLimits()) == Limits()


ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["user", "tool", "assistant", "function", "text", "image_url", "auto", "f"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "role",
                    "content",
                    "type",
                    "text",
                    "name",
                    "function",
                    "tool_calls",
                    "id",
                    "image_url",
                    "url",
                    "tool_call_id",
                    "allowed_tools",
                    "mode",
                    "tools",
                    "json_schema",
                    "schema",
                    "$ref",
                    "pattern",
                    "anyOf",
                    "namespace",
                    "ttl",
                    "file",
                    "input_audio",
                    "custom",
                    "audio",
                ]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=15,
)
FIELDS = st.sampled_from(
    [
        "model",
        "messages",
        "prompt",
        "input",
        "tools",
        "tool_choice",
        "functions",
        "function_call",
        "response_format",
        "stop",
        "metadata",
        "logit_bias",
        "cache",
        "stream",
        "stream_options",
        "n",
        "best_of",
        "user",
        "max_tokens",
        "temperature",
        "audio",
        "prediction",
        "modalities",
        "odd",
    ]
)


@slow_examples
@given(st.sampled_from(Operation), st.dictionaries(FIELDS, ODD))
def test_admission_never_raises(operation: Operation, document: dict[str, Any]) -> None:
    """Whatever JSON comes, the answer is an admitted body or an error that has a meaning."""
    document = {"model": "m", "messages": [ASK], "input": "x", **document}
    result = admit(operation, msgspec.json.encode(document), limits=Limits())
    assert isinstance(result, Admitted) or result.code in ERRORS


@given(st.sampled_from(Operation), st.binary())
def test_admission_never_raises_on_bytes(operation: Operation, body: bytes) -> None:
    """Nor does it on bytes that are no JSON at all."""
    result = admit(operation, body, limits=Limits())
    assert isinstance(result, PublicError)
    assert result.code in ERRORS


@given(st.text(), st.text())
def test_contents_arrive_unchanged(content: str, system: str) -> None:
    """No text is normalised, trimmed or escaped on the way in."""
    messages = [{"role": "system", "content": system}, {"role": "user", "content": content}]
    result = admitted(CHAT, {"model": "m", "messages": messages})
    assert result.document["messages"] == messages
    assert msgspec.json.decode(result.body)["messages"] == messages
