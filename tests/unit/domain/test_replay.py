"""A kept answer as another caller gets it."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.model_caller.answers import StreamedAnswer
from services.shared.domain.events import InferenceRequested
from services.shared.domain.replay import PIECE_CHARACTERS, replayed_stream, whole_response
from tests.support.example_events import requested

USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
CALLS = [
    {"id": "call_a", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
    {"id": "call_b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
]


def message(content: str | None = "Deep.", **fields: Any) -> dict[str, Any]:
    """A message of an answer."""
    return {"role": "assistant", "content": content, "refusal": None, **fields}


def answer(*messages: dict[str, Any], reason: str = "stop", **fields: Any) -> dict[str, Any]:
    """A chat completion."""
    choices = [
        {"index": i, "message": it, "logprobs": None, "finish_reason": reason}
        for i, it in enumerate(messages)
    ]
    return {
        "id": "chatcmpl-old",
        "object": "chat.completion",
        "created": 1,
        "model": "up",
        "choices": choices,
        "usage": USAGE,
        "system_fingerprint": "fp",
        **fields,
    }


def kept(document: dict[str, Any]) -> bytes:
    """A document as it was kept."""
    return msgspec.json.encode(document)


def asking(operation: str = "chat", **changes: Any) -> InferenceRequested:
    """A request with an id of its own."""
    return requested(request_id="req_0123456789", operation=operation, **changes)


def fragments(document: dict[str, Any], request: InferenceRequested) -> list[dict[str, Any]]:
    """The replayed stream."""
    payload = replayed_stream(request, kept(document))
    return [json.loads(line) for line in payload.split(b"\n")]


def joined(document: dict[str, Any], request: InferenceRequested) -> dict[str, Any]:
    """What a client that joins the replayed stream has at its end."""
    whole = StreamedAnswer(request)
    for fragment in fragments(document, request):
        whole.take(msgspec.json.encode(fragment))
    result: dict[str, Any] = json.loads(whole.answer().response)
    return result


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(answer(message()), id="plain"),
        pytest.param(answer(message("x" * 1000 + "ü€😀")), id="long"),
        pytest.param(answer(message(""), reason="length"), id="empty"),
        pytest.param(answer(message("a"), message("b"), message("c")), id="choices"),
        pytest.param(answer(message(None, tool_calls=CALLS), reason="tool_calls"), id="tools"),
        pytest.param(
            answer(message("Let me see.", tool_calls=CALLS), reason="tool_calls"),
            id="text_and_tools",
        ),
        pytest.param(
            answer(
                message(None, function_call={"name": "f", "arguments": "{}"}),
                reason="function_call",
            ),
            id="legacy_function",
        ),
        pytest.param(answer(message(None, refusal="I cannot.")), id="refusal"),
    ],
)
def test_a_replayed_stream_is_the_answer(document: dict[str, Any]) -> None:
    """Joined, it is the kept document under the new request's id."""
    request = asking(include_usage=True)
    assert joined(document, request) == {**document, "id": "chatcmpl-0123456789"}
    assert json.loads(whole_response(request, kept(document))) == {
        **document,
        "id": "chatcmpl-0123456789",
    }


def test_logprobs_are_replayed() -> None:
    """They come with the words."""
    document = answer(message())
    document["choices"][0]["logprobs"] = {"content": [{"token": "Deep.", "logprob": -1.0}]}
    assert joined(document, asking(include_usage=True))["choices"] == document["choices"]


@pytest.mark.parametrize("prompts", [1, 3])
def test_text_completions_are_replayed(prompts: int) -> None:
    """As text, each choice in pieces."""
    choices = [
        {"index": i, "text": f"{i}" * 500, "logprobs": None, "finish_reason": "stop"}
        for i in range(prompts)
    ]
    document = {**answer(), "object": "text_completion", "choices": choices}
    request = asking("text_completion", include_usage=True)
    assert joined(document, request) == {**document, "id": "cmpl-0123456789"}
    assert {it["object"] for it in fragments(document, request)} == {"text_completion"}


def test_a_replayed_stream_looks_like_one() -> None:
    """Role first, words in pieces, the reason alone, one id throughout."""
    text = "x" * (PIECE_CHARACTERS + 1)
    stream = fragments(answer(message(text)), asking())
    deltas = [it["choices"][0]["delta"] for it in stream]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert [len(it["content"]) for it in deltas[1:-1]] == [PIECE_CHARACTERS, 1]
    assert deltas[-1] == {}
    assert [it["choices"][0]["finish_reason"] for it in stream] == [None, None, None, "stop"]
    assert {(it["id"], it["object"], it["model"], it["system_fingerprint"]) for it in stream} == {
        ("chatcmpl-0123456789", "chat.completion.chunk", "up", "fp")
    }


def test_usage_comes_last_and_alone_where_it_is_wanted() -> None:
    """As in a stream of a provider's."""
    plain = fragments(answer(message()), asking())
    assert all("usage" not in it for it in plain)
    *others, last = fragments(answer(message()), asking(include_usage=True))
    assert [it["usage"] for it in others] == [None] * len(plain)
    assert (last["choices"], last["usage"]) == ([], USAGE)


def test_embeddings_have_no_id() -> None:
    """They are handed out as they were kept."""
    document = {"object": "list", "data": [], "model": "e"}
    assert whole_response(asking("embeddings"), kept(document)) == kept(document)


@given(st.lists(st.text(max_size=700), min_size=1, max_size=3))
def test_any_text_is_replayed_to_the_letter(texts: list[str]) -> None:
    """Cut anywhere, no character is lost."""
    document = answer(*map(message, texts))
    replayed = joined(document, asking())
    assert [it["message"]["content"] for it in replayed["choices"]] == texts
