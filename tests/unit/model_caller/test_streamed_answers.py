"""Answers that come in chunks: what is handed on, and what they amount to."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.model_caller import answers
from services.model_caller.answers import Malformed, ProviderError, StreamedAnswer, whole_answer
from services.shared.domain.money import Usage
from services.simulator.behaviour import Operation
from tests.unit.model_caller.simulated import (
    assembled,
    chunk,
    delta,
    document_of,
    request,
    simulated,
    stream_of,
    take_stream,
)

FUNCTION = {
    "name": "f",
    "parameters": {"properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
}
TOOLS = {"tools": [{"type": "function", "function": FUNCTION}], "tool_choice": "required"}
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
REPORTED = chunk(usage=USAGE)


def without_annotations(document: dict[str, Any]) -> dict[str, Any]:
    """A whole answer without the one field that no stream carries."""
    for choice in document["choices"]:
        choice.get("message", {}).pop("annotations", None)
    return document


@pytest.mark.parametrize(
    ("operation", "model", "fields"),
    [
        pytest.param("chat", "sim-fast", {}, id="chat"),
        pytest.param("chat", "sim-fast", {"n": 3}, id="several_choices"),
        pytest.param("chat", "sim-fast", TOOLS, id="tools"),
        pytest.param("chat", "sim-fast", {**TOOLS, "n": 2}, id="tools_in_several_choices"),
        pytest.param("chat", "sim-fast:tokens=50", {"max_tokens": 5}, id="cut_by_length"),
        pytest.param("chat", "sim-fast:no-usage", {}, id="usage_is_missing"),
        pytest.param("chat", "sim-fast:no-usage", TOOLS, id="usage_is_missing_with_tools"),
        pytest.param("chat", "sim-fast:lie-usage=negative", {}, id="usage_is_negative"),
        pytest.param("chat", "sim-fast:lie-usage=zero", {}, id="usage_is_zero"),
        pytest.param("chat", "sim-fast:echo", {"content": "ü€😀"}, id="no_ascii"),
        pytest.param("text_completion", "sim-fast", {}, id="completion"),
        pytest.param("text_completion", "sim-fast", {"content": ["a", "b"]}, id="prompts"),
    ],
)
def test_a_stream_amounts_to_the_answer_that_was_not_streamed(
    operation: str, model: str, fields: dict[str, Any]
) -> None:
    """Document, usage, reason and model are those of the same call without ``stream``."""
    asked = request(operation=operation)
    body, stream = simulated(model, operation=Operation(operation), **fields)
    answer = StreamedAnswer(asked)
    take_stream(answer, stream)
    expected = whole_answer(asked, body)
    streamed = answer.answer()
    assert document_of(streamed) == without_annotations(document_of(expected))
    assert streamed.usage == expected.usage
    assert streamed.finish_reason == expected.finish_reason
    assert streamed.response_model == expected.response_model == model


def test_fragments_are_the_provider_s_chunks_under_our_id() -> None:
    """Unknown fields pass, ids are ours, usage is left to the end."""
    answer = StreamedAnswer(request())
    fragments = take_stream(
        answer,
        stream_of(
            chunk(delta("", role="assistant"), system_fingerprint="fp"),
            chunk({**delta("a"), "new": 1}, newer=[2]),
            chunk(delta(finish_reason="stop")),
            REPORTED,
        ),
    )
    assert [fragment["id"] for fragment in fragments] == ["chatcmpl-0123456789"] * 3
    assert fragments[0]["system_fingerprint"] == "fp"
    assert (fragments[1]["newer"], fragments[1]["choices"][0]["new"]) == ([2], 1)
    assert all("usage" not in fragment for fragment in fragments)
    assert answer.usage_fragment() is None


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param([chunk(delta("a", finish_reason="stop")), REPORTED], id="alone"),
        pytest.param([chunk(delta("a", finish_reason="stop"), usage=USAGE)], id="in_the_last"),
        pytest.param(
            [
                chunk(delta("a"), usage={**USAGE, "completion_tokens": 1}),
                chunk(delta(finish_reason="stop"), usage=USAGE),
            ],
            id="growing",
        ),
    ],
)
def test_usage_comes_last_where_the_caller_wants_it(chunks: list[object]) -> None:
    """Wherever a provider puts its usage, callers get a null one in chunks and a last chunk."""
    answer = StreamedAnswer(request(stream=True, include_usage=True))
    fragments = take_stream(answer, stream_of(*chunks))
    assert all(fragment["usage"] is None for fragment in fragments)
    last = json.loads(answer.usage_fragment() or b"")
    assert (last["choices"], last["usage"]) == ([], USAGE)
    assert (last["id"], last["object"], last["model"]) == (
        "chatcmpl-0123456789",
        "chat.completion.chunk",
        "m",
    )
    assert answer.answer().usage == Usage(input_tokens=7, output_tokens=3)


def test_the_usage_chunk_needs_no_other_field() -> None:
    """A last chunk that has nothing but usage takes nothing from the answer."""
    answer = StreamedAnswer(request(include_usage=True))
    document = assembled(
        answer, chunk(delta("a", finish_reason="stop")), {"choices": [], "usage": USAGE}
    )
    assert (document["model"], document["created"], document["usage"]) == ("m", 1, USAGE)
    assert json.loads(answer.usage_fragment() or b"")["model"] == "m"


def test_a_first_chunk_without_choices_is_nothing() -> None:
    """Some begin with a chunk about the prompt alone; it is neither handed on nor the frame."""
    answer = StreamedAnswer(request())
    opening = {"id": "", "model": "", "choices": [], "prompt_filter_results": [{}]}
    document = assembled(answer, opening, chunk(delta("a", finish_reason="stop")), REPORTED)
    assert document["model"] == "m"
    assert "prompt_filter_results" not in document


@pytest.mark.parametrize(
    "usage",
    [
        pytest.param(None, id="none"),
        pytest.param({}, id="empty"),
        pytest.param({"prompt_tokens": 7}, id="no_output"),
        pytest.param({**USAGE, "completion_tokens": -3}, id="negative"),
        pytest.param({**USAGE, "completion_tokens": 0}, id="zero_output"),
        pytest.param({**USAGE, "prompt_tokens": 0}, id="zero_input"),
        pytest.param({**USAGE, "prompt_tokens": 2**31}, id="more_than_a_record_holds"),
        pytest.param({**USAGE, "prompt_tokens": 7.0}, id="a_float"),
        pytest.param({**USAGE, "prompt_tokens": True}, id="a_bool"),
        pytest.param({**USAGE, "prompt_tokens": "7"}, id="a_text"),
        pytest.param([7], id="a_list"),
        pytest.param("many", id="a_word"),
    ],
)
def test_impossible_usage_is_replaced_by_an_estimate(usage: object) -> None:
    """Nobody is billed by a lie, nor answered free of charge; whole and streamed alike."""
    asked = request(include_usage=True, estimated_input_tokens=9)
    answer = StreamedAnswer(asked)
    document = assembled(
        answer, chunk(delta("12345"), usage=usage), chunk(delta(finish_reason="x"))
    )
    estimated = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
    assert document["usage"] == estimated
    assert json.loads(answer.usage_fragment() or b"")["usage"] == estimated
    expected = Usage(input_tokens=9, output_tokens=2, is_estimated=True)
    assert answer.usage() == expected
    message = {"role": "assistant", "content": "12345"}
    body = {"choices": [{"message": message, "finish_reason": "x"}], "usage": usage}
    whole = whole_answer(asked, msgspec.json.encode(body))
    assert whole.usage == expected
    assert document_of(whole)["usage"] == estimated


def test_no_output_tokens_are_possible_where_there_is_no_output() -> None:
    """A refused answer without a word costs no output."""
    answer = StreamedAnswer(request())
    usage = {"prompt_tokens": 7, "completion_tokens": 0}
    assembled(answer, chunk(delta(finish_reason="content_filter"), usage=usage))
    assert answer.usage() == Usage(input_tokens=7)


def test_details_of_usage_are_read_as_far_as_they_are_possible() -> None:
    """Cached and reasoning tokens are parts of the whole."""
    answer = StreamedAnswer(request())
    usage = {
        **USAGE,
        "prompt_tokens_details": {"cached_tokens": 99},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    assembled(answer, chunk(delta("a", finish_reason="stop"), usage=usage))
    assert answer.usage() == Usage(
        input_tokens=7, output_tokens=3, cached_input_tokens=7, reasoning_output_tokens=2
    )
    usage = {**USAGE, "prompt_tokens_details": None, "completion_tokens_details": {"x": "y"}}
    answer = StreamedAnswer(request())
    assembled(answer, chunk(delta("a", finish_reason="stop"), usage=usage))
    assert answer.usage() == Usage(input_tokens=7, output_tokens=3)


def tool(index: int, arguments: str, **fields: Any) -> dict[str, Any]:
    """A fragment of a tool call."""
    name = {"name": fields.pop("name")} if "name" in fields else {}
    return {"index": index, **fields, "function": {**name, "arguments": arguments}}


def test_parallel_tool_calls_are_joined_by_index() -> None:
    """Fragments of two calls, in turns and in one chunk, become two calls in order."""
    opening = [
        tool(0, "", id="call_a", type="function", name="weather"),
        tool(1, "", id="call_b", type="function", name="time"),
    ]
    document = assembled(
        StreamedAnswer(request()),
        chunk(delta(role="assistant", content=None, tool_calls=[opening[0]])),
        chunk(delta(tool_calls=[tool(0, '{"city"')])),
        chunk(delta(tool_calls=[opening[1]])),
        chunk(delta(tool_calls=[tool(1, '{"zone":'), tool(0, ':"Rome"}')])),
        chunk(delta(tool_calls=[tool(1, '"CET"}')])),
        chunk(delta(finish_reason="tool_calls"), usage=USAGE),
    )
    assert document["choices"] == [
        {
            "index": 0,
            "logprobs": None,
            "finish_reason": "tool_calls",
            "message": {
                "role": "assistant",
                "content": None,
                "refusal": None,
                "tool_calls": [
                    {
                        "id": "call_a",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"city":"Rome"}'},
                    },
                    {
                        "id": "call_b",
                        "type": "function",
                        "function": {"name": "time", "arguments": '{"zone":"CET"}'},
                    },
                ],
            },
        }
    ]


def test_a_legacy_function_call_is_joined() -> None:
    """The name is taken once, however often it is repeated; the arguments are joined."""
    document = assembled(
        StreamedAnswer(request()),
        chunk(delta(role="assistant", content=None, function_call={"name": "f", "arguments": ""})),
        chunk(delta(function_call={"name": "f", "arguments": '{"a"'})),
        chunk(delta(function_call={"arguments": ":1}"})),
        chunk(delta(finish_reason="function_call")),
    )
    message = document["choices"][0]["message"]
    assert message["function_call"] == {"name": "f", "arguments": '{"a":1}'}
    assert message["content"] is None


def test_a_refusal_is_joined() -> None:
    """A refusal takes the place of the content."""
    document = assembled(
        StreamedAnswer(request()),
        chunk(delta(role="assistant", content=None, refusal="I ")),
        chunk(delta(refusal="cannot.")),
        chunk(delta(finish_reason="stop")),
    )
    message = document["choices"][0]["message"]
    assert (message["content"], message["refusal"]) == (None, "I cannot.")


def test_logprobs_are_joined_token_by_token() -> None:
    """The lists of the chunks follow one another, whatever the tokens are called."""
    tokens = [
        {"token": "a", "logprob": -0.5, "top_logprobs": [{"token": "index", "logprob": -1.0}]},
        {"token": "b", "logprob": -0.25, "top_logprobs": []},
    ]
    document = assembled(
        StreamedAnswer(request()),
        chunk({**delta("a"), "logprobs": {"content": [tokens[0]], "refusal": None}}),
        chunk({**delta("b"), "logprobs": {"content": [tokens[1]], "refusal": None}}),
        chunk({**delta(finish_reason="stop"), "logprobs": None}),
    )
    assert document["choices"][0]["logprobs"] == {"content": tokens, "refusal": None}


def test_logprobs_of_completions_may_be_about_the_word_index() -> None:
    """A token called ``index`` does not merge the tables of two positions."""
    tables = [{"index": -0.5, " the": -1.5}, {"index": -0.5}]
    document = assembled(
        StreamedAnswer(request(operation="text_completion")),
        chunk({"index": 0, "text": "a", "logprobs": {"top_logprobs": [tables[0]]}}),
        chunk({"index": 0, "text": "b", "logprobs": {"top_logprobs": [tables[1]]}}),
        chunk({"index": 0, "text": "", "finish_reason": "stop"}),
    )
    assert document["choices"][0]["logprobs"] == {"top_logprobs": tables}
    assert document["choices"][0]["text"] == "ab"


def test_nulls_say_nothing() -> None:
    """Fields that some providers send as null leave no trace in the message."""
    null: dict[str, Any] = {
        "tool_calls": None,
        "function_call": None,
        "refusal": None,
        "audio": None,
    }
    document = assembled(
        StreamedAnswer(request()),
        chunk(delta("a", role="assistant", **null)),
        chunk({"index": 0, "delta": None, "finish_reason": None}),
        chunk(delta("b", finish_reason="stop", **null)),
        {**REPORTED, "error": None},
    )
    assert document["choices"][0]["message"] == {
        "role": "assistant",
        "content": "ab",
        "refusal": None,
    }


def test_words_after_the_end_are_not_handed_on() -> None:
    """A choice that ended stays as it was; so does everything after ``[DONE]``."""
    answer = StreamedAnswer(request())
    after = chunk(delta(" and more"), delta("x", index=1))
    fragments = take_stream(
        answer,
        stream_of(chunk(delta("a", finish_reason="stop")), chunk(delta(" and more")), REPORTED)
        + stream_of(after),
    )
    assert len(fragments) == 1
    document = document_of(answer.answer())
    assert [choice["message"]["content"] for choice in document["choices"]] == ["a"]


def test_a_choice_that_ended_does_not_silence_the_others() -> None:
    """In one chunk the words of an ended choice are dropped and those of another kept."""
    answer = StreamedAnswer(request())
    fragments = take_stream(
        answer,
        stream_of(
            chunk(delta("a", finish_reason="stop"), delta("b", index=1)),
            chunk(delta("x"), delta("c", index=1, finish_reason="stop")),
        ),
    )
    assert [choice["index"] for choice in fragments[1]["choices"]] == [1]
    document = document_of(answer.answer())
    assert [choice["message"]["content"] for choice in document["choices"]] == ["a", "bc"]


def test_a_role_alone_is_no_output() -> None:
    """Until a word, a refusal, a call or an end has come, the call may still be repeated."""
    for said in ({"role": "assistant"}, {"role": "assistant", "content": ""}, {"content": None}):
        answer = StreamedAnswer(request())
        take_stream(answer, stream_of(chunk(delta(**said)), is_done=False))
        assert not answer.has_output
    outputs = [
        delta("a"),
        delta(refusal="no"),
        delta(tool_calls=[tool(0, "")]),
        delta(reasoning_content="hm"),
        delta(finish_reason="stop"),
        {"index": 0, "text": "a"},
    ]
    for output in outputs:
        answer = StreamedAnswer(request())
        take_stream(answer, stream_of(chunk(output), is_done=False))
        assert answer.has_output


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param([], id="nothing"),
        pytest.param([chunk(delta("a"))], id="no_reason"),
        pytest.param([chunk(delta("a", finish_reason=""))], id="empty_reason"),
        pytest.param(
            [chunk(delta("a", finish_reason="stop"), delta("b", index=1))], id="one_of_two"
        ),
        pytest.param([REPORTED], id="usage_alone"),
    ],
)
def test_half_an_answer_is_none(chunks: list[object]) -> None:
    """Neither ``[DONE]`` nor a clean end of the connection makes it whole."""
    answer = StreamedAnswer(request())
    take_stream(answer, stream_of(*chunks))
    assert answer.is_done
    assert not answer.is_whole
    with pytest.raises(Malformed, match="ended before"):
        answer.answer()


DEEP = b"[" * 100_000
BAD_CHUNKS = [
    b"{",
    b"null",
    b"[]",
    b"5",
    b"{}",
    b'{"choices":null}',
    b'{"choices":{}}',
    b'{"choices":[5]}',
    b'{"choices":[null]}',
    b'{"choices":[{"index":"0"}]}',
    b'{"choices":[{"index":true}]}',
    b'{"choices":[{"index":-1}]}',
    b'{"choices":[{"index":1e9}]}',
    b'{"choices":[{"index":1000000}]}',
    b'{"choices":[{"delta":"a"}]}',
    b'{"choices":[{"delta":[]}]}',
    b'{"choices":[{"delta":{"content":5}}]}',
    b'{"choices":[{"delta":{"content":["a"]}}]}',
    b'{"choices":[{"text":5}]}',
    b'{"choices":[{"finish_reason":5}]}',
    b'{"choices":[{"finish_reason":["stop"]}]}',
    b'{"choices":[{"delta":{"content":"\xff"}}]}',
    b'{"choices":[{"delta":{"content":"\\ud800"}}]}',
    b'{"choices":[{"delta":{"content":NaN}}]}',
    b'{"choices":' + DEEP,
    DEEP,
]


@pytest.mark.parametrize("data", BAD_CHUNKS, ids=lambda data: repr(data[:50]))
def test_what_is_no_chunk_is_malformed(data: bytes) -> None:
    """Whatever a provider sends in place of a chunk ends in one kind of error."""
    with pytest.raises(Malformed):
        StreamedAnswer(request()).take(data)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        pytest.param({"code": "c", "message": "m"}, "c", "m", id="object"),
        pytest.param({"code": None, "message": None}, "", "The provider reported", id="nulls"),
        pytest.param({"code": 429}, "429", "The provider reported", id="number"),
        pytest.param("overloaded", "", "The provider reported", id="text"),
        pytest.param({"message": "x" * 5000}, "", "x" * 300, id="long"),
    ],
)
def test_an_error_in_a_stream_is_the_provider_s(error: object, code: str, message: str) -> None:
    """Its words are kept, bounded."""
    with pytest.raises(ProviderError) as raised:
        StreamedAnswer(request()).take(msgspec.json.encode({"error": error}))
    assert raised.value.code == code
    assert raised.value.message.startswith(message)
    assert len(raised.value.message) <= 300


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.floats(allow_nan=False)
    | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("index", "delta", "content", "tool_calls", "function", "arguments", "role"),
                    *("finish_reason", "logprobs", "text", "usage", "choices", "refusal", "id"),
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(st.lists(st.fixed_dictionaries({"choices": st.lists(JSON, max_size=3)}), max_size=4))
def test_no_chunk_breaks_the_assembly(chunks: list[object]) -> None:
    """Any JSON in any place gives fragments and a document, or one kind of error."""
    answer = StreamedAnswer(request(include_usage=True))
    try:
        take_stream(answer, stream_of(*chunks))
        document_of(answer.answer())
        answer.usage_fragment()
    except Malformed:
        pass  # what was asked for
    assert answer.usage().input_tokens >= 0


@given(
    texts=st.lists(st.text(max_size=6), min_size=1, max_size=8),
    calls=st.lists(st.lists(st.text(max_size=4), min_size=1, max_size=4), max_size=3),
    choices=st.integers(1, 3),
    seed=st.randoms(use_true_random=False),
)
def test_texts_and_arguments_arrive_whole_in_any_order(
    texts: list[str], calls: list[list[str]], choices: int, seed: Any
) -> None:
    """Fragments of all choices and calls may be mixed; each text is joined in its own order."""
    pieces = [
        [delta(text, index=index) for text in texts]
        + [
            delta(index=index, tool_calls=[tool(number, fragment, id=f"call_{number}")])
            for number, fragments in enumerate(calls)
            for fragment in fragments
        ]
        for index in range(choices)
    ]
    mixed = []
    while any(pieces):
        mixed.append(seed.choice([queue for queue in pieces if queue]).pop(0))
    ends = [delta(index=index, finish_reason="stop") for index in range(choices)]
    document = assembled(StreamedAnswer(request()), *map(chunk, (*mixed, *ends)))
    assert len(document["choices"]) == choices
    for choice in document["choices"]:
        assert (choice["message"]["content"] or "") == "".join(texts)
        arguments = [it["function"]["arguments"] for it in choice["message"].get("tool_calls", [])]
        assert arguments == ["".join(fragments) for fragments in calls]


def test_a_stream_without_end_is_malformed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider cannot make us keep more than so many bytes."""
    monkeypatch.setattr(answers, "_MAX_STREAM_BYTES", 1000)
    answer = StreamedAnswer(request())
    with pytest.raises(Malformed, match="does not end"):
        take_stream(answer, stream_of(*[chunk(delta("a"))] * 20))


def test_an_answer_that_fits_into_no_record_is_malformed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It could be neither kept nor read again."""
    monkeypatch.setattr(answers, "MAX_ANSWER_BYTES", 300)
    answer = StreamedAnswer(request())
    take_stream(answer, stream_of(chunk(delta("a" * 300, finish_reason="stop"))))
    with pytest.raises(Malformed, match="more than 300 bytes"):
        answer.answer()
