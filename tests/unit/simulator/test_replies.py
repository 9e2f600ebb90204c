"""Rendered answers: bytes in time, whole and broken."""

import gzip
import json
from math import exp, inf
from typing import Any

import pytest

from services.simulator.behaviour import Operation
from services.simulator.decide import Plan
from services.simulator.replies import Ending, Reply
from services.simulator.streaming import split_inside_character, streamed_reply
from services.simulator.whole import bombed, whole_reply
from services.simulator.wire import Identity, whole_body
from tests.unit.simulator.asks import known, planned

CHAT, COMPLETION = Operation.CHAT, Operation.COMPLETION


def _identity(model: str, operation: Operation = CHAT, *, is_wrong_model: bool = False) -> Identity:
    return Identity("0a1b", 1_700_000_000, operation, known(model), is_wrong_model)


def _streamed(
    model: str,
    operation: Operation = CHAT,
    *,
    include_usage: bool = False,
    **fields: Any,
) -> tuple[Plan, Reply]:
    plan = planned(model, operation=operation, stream=True, **fields)
    return plan, streamed_reply(plan, _identity(model, operation), include_usage=include_usage)


def _body(reply: Reply) -> bytes:
    return b"".join(data for _, data in reply.frames)


def _chunks(reply: Reply) -> list[dict[str, Any]]:
    events = _body(reply).decode().split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    return [json.loads(event.removeprefix("data: ")) for event in events[:-2]]


def _choices(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [choice for chunk in chunks for choice in chunk["choices"]]


def _said(choices: list[dict[str, Any]], index: int = 0) -> str:
    deltas = [choice["delta"] for choice in choices if choice["index"] == index]
    return "".join(delta.get("content") or "" for delta in deltas)


def test_stream_has_openais_chunks() -> None:
    """Role first, one chunk a token, the finish reason alone, one id throughout."""
    plan, reply = _streamed("sim-fast:tokens=4")
    chunks = _chunks(reply)
    assert [choice["delta"] for choice in _choices(chunks)] == [
        {"role": "assistant", "content": "", "refusal": None},
        *[{"content": token} for token in plan.outputs[0].tokens],
        {},
    ]
    reasons = [choice["finish_reason"] for choice in _choices(chunks)]
    assert reasons == [None] * 5 + ["stop"]
    assert {(c["id"], c["object"], c["created"], c["model"]) for c in chunks} == {
        ("chatcmpl-0a1b", "chat.completion.chunk", 1_700_000_000, "sim-fast:tokens=4")
    }
    assert all("usage" not in chunk for chunk in chunks)
    assert reply.ending is Ending.COMPLETE


def test_usage_comes_last_and_alone_where_asked_for() -> None:
    """With ``include_usage`` every chunk has a null usage, and a last one has no choices."""
    plan, reply = _streamed("sim-fast:tokens=4", include_usage=True)
    *others, last = _chunks(reply)
    assert [chunk["usage"] for chunk in others] == [None] * len(others)
    assert last["choices"] == []
    usage = last["usage"]
    assert isinstance(usage, dict)
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (
        plan.input_tokens,
        4,
        plan.input_tokens + 4,
    )


def test_choices_are_streamed_side_by_side() -> None:
    """With ``n`` the choices' tokens alternate, and each choice is whole."""
    plan, reply = _streamed("sim-fast", n=3)
    choices = _choices(_chunks(reply))
    assert [choice["index"] for choice in choices[3:9]] == [0, 1, 2, 0, 1, 2]
    assert [_said(choices, index) for index in range(3)] == [o.text for o in plan.outputs]
    assert [c["index"] for c in choices if c["finish_reason"]] == [0, 1, 2]


def test_completions_are_streamed_as_text() -> None:
    """``/v1/completions`` streams ``text`` under its own object, for every prompt."""
    plan, reply = _streamed("sim-fast", COMPLETION, content=["one", "two"])
    chunks = _chunks(reply)
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}
    texts = ["", ""]
    for choice in _choices(chunks):
        texts[int(str(choice["index"]))] += str(choice["text"])
    assert texts == [output.text for output in plan.outputs]


def test_a_custom_tool_is_accepted_and_a_function_beside_it_called() -> None:
    """OpenAI's clients may bring tools of both kinds."""
    custom = {"type": "custom", "custom": {"name": "run", "format": {"type": "text"}}}
    function = {"type": "function", "function": {"name": "look"}}
    assert planned("sim-fast", tools=[custom]).outputs[0].tool_call_id == ""
    both = planned("sim-fast", tools=[custom, function], tool_choice="required")
    assert both.outputs[0].tool_call_id


def test_tool_call_is_streamed_in_fragments() -> None:
    """Name and id come first, then the arguments in several pieces that join to JSON."""
    function = {"name": "f", "parameters": {"properties": {"city": {"type": "string"}}}}
    tools = [{"type": "function", "function": function}]
    plan, reply = _streamed("sim-fast", tools=tools, tool_choice="required")
    choices = _choices(_chunks(reply))
    calls = [c["delta"]["tool_calls"][0] for c in choices if "tool_calls" in c["delta"]]
    assert (calls[0]["function"], calls[0]["type"]) == ({"name": "f", "arguments": ""}, "function")
    fragments = [call["function"]["arguments"] for call in calls[1:]]
    assert len(fragments) > 3
    assert set(json.loads("".join(fragments))) == {"city"}
    assert choices[-1]["finish_reason"] == "tool_calls"
    assert calls[0]["id"] == plan.outputs[0].tool_call_id


def test_tokens_are_due_at_the_model_s_pace() -> None:
    """The role is due with the first token, each next token a pace later, the end with the last."""
    _, reply = _streamed("sim-chat:ttft=200ms:tps=50:tokens=4:delay=5ms")
    assert reply.starts_ms == 5
    assert [due_ms for due_ms, _ in reply.frames] == [205, 205, 225, 245, 265, 265]


@pytest.mark.parametrize(
    ("fault", "ending"),
    [("cut", Ending.RESET), ("eof", Ending.EOF), ("hang", Ending.HANG), ("error", Ending.EOF)],
)
@pytest.mark.parametrize("place", [0, 3, 50])
def test_stream_breaks_off_after_its_token(fault: str, ending: Ending, place: int) -> None:
    """A broken stream has its tokens up to the place, no finish reason and no ``[DONE]``."""
    plan, reply = _streamed(f"sim-fast:tokens=10:{fault}={place}")
    body = _body(reply).decode()
    tokens = body.count('"delta":{"content":')
    assert tokens == min(place, len(plan.outputs[0].tokens))
    assert '"finish_reason":"' not in body
    assert "[DONE]" not in body
    assert ('"error"' in body) == (fault == "error")
    assert reply.ending is ending


def test_earliest_of_several_breaks_wins() -> None:
    """With two breaking faults the stream ends at the first."""
    _, reply = _streamed("sim-fast:cut=5:eof=2")
    assert _body(reply).count(b'"delta":{"content":"') == 2
    assert reply.ending is Ending.EOF


def test_bad_json_chunk_is_the_one_asked_for() -> None:
    """One chunk does not parse; all others do."""
    _, reply = _streamed("sim-fast:tokens=10:badjson=4")
    bad = []
    for number, event in enumerate(_body(reply).decode().split("\n\n")[:-2]):
        try:
            json.loads(event.removeprefix("data: "))
        except json.JSONDecodeError:
            bad.append(number)
    assert bad == [5]  # the role's chunk is the first


def test_repeated_chunk_is_the_same_bytes() -> None:
    """``dup-chunk`` sends one chunk twice; the rest is unchanged."""
    _, reply = _streamed("sim-fast:tokens=10:dup-chunk=2")
    _, whole = _streamed("sim-fast:tokens=10")
    frames = [data.replace(b":dup-chunk=2", b"") for _, data in reply.frames]
    expected = [data for _, data in whole.frames]
    assert frames == [*expected[:4], *expected[3:]]


def test_big_chunk_is_as_big_as_asked_for() -> None:
    """One chunk carries the size in its text, also in a short answer."""
    _, reply = _streamed("sim-fast:tokens=2:big-chunk=1MB")
    sizes = [len(str(choice["delta"])) for choice in _choices(_chunks(reply))]
    assert [size > 1_000_000 for size in sizes] == [False, False, True, False, False]


def test_text_after_the_end_is_sent() -> None:
    """``after-end`` sends text behind the finish reason."""
    choices = _choices(_chunks(_streamed("sim-fast:after-end")[1]))
    assert [choice["finish_reason"] for choice in choices[-2:]] == ["stop", None]
    assert choices[-1]["delta"] == {"content": " and more"}


def test_usage_is_missing_or_a_lie_where_asked_for() -> None:
    """``no-usage`` sends none; ``lie-usage`` sends one that is not the number of tokens."""
    chunks = _chunks(_streamed("sim-fast:no-usage", include_usage=True)[1])
    assert all(chunk["usage"] is None for chunk in chunks)
    for lie, tokens in (("more", 47), ("negative", -1), ("zero", 0)):
        model = f"sim-fast:tokens=4:lie-usage={lie}"
        usage = _chunks(_streamed(model, include_usage=True)[1])[-1]["usage"]
        assert isinstance(usage, dict)
        assert usage["completion_tokens"] == tokens


def test_characters_are_split_between_frames() -> None:
    """``split-utf8``: some frames are no UTF-8 by themselves; together they are the answer."""
    plan, reply = _streamed("sim-fast:split-utf8")
    frames = list(reply.frames)
    broken = [data for _, data in frames if _is_broken(data)]
    assert len(broken) >= 2
    halves_due_ms = [due_ms for due_ms, data in frames if _is_broken(data)]
    pairs = zip(halves_due_ms[::2], halves_due_ms[1::2], strict=True)
    assert all(second - first == 5 for first, second in pairs)
    whole = b"".join(data for _, data in frames).decode()
    events = [json.loads(event[6:]) for event in whole.split("\n\n")[:-2]]
    assert _said(_choices(events)) == plan.outputs[0].text


def _is_broken(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return True
    return False


def test_ascii_cannot_be_split() -> None:
    """There is no inside of a character in ASCII."""
    assert split_inside_character(b"plain") is None
    assert split_inside_character("aé".encode()) == (b"a\xc3", b"\xa9")


def test_wrong_model_is_named() -> None:
    """``wrong-model`` answers under another name, streamed or not."""
    identity = _identity("sim-fast", is_wrong_model=True)
    plan = planned("sim-fast")
    assert json.loads(whole_body(plan, identity))["model"] == "some-other-model"
    streamed = _chunks(streamed_reply(plan, identity, include_usage=False))
    assert {chunk["model"] for chunk in streamed} == {"some-other-model"}


def _whole(model: str, **fields: Any) -> tuple[Plan, Reply, bytes]:
    plan = planned(model, **fields)
    body = whole_body(plan, _identity(model))
    return plan, whole_reply(plan, body), body


def test_whole_answer_has_openais_shape() -> None:
    """A chat completion in one piece: message, finish reason, usage, fingerprint."""
    plan, reply, _ = _whole("sim-fast:tokens=4", n=2)
    answer = json.loads(_body(reply))
    assert answer["object"] == "chat.completion"
    assert answer["system_fingerprint"].startswith("fp_")
    assert [choice["index"] for choice in answer["choices"]] == [0, 1]
    assert answer["choices"][0] == {
        "index": 0,
        "message": {
            "role": "assistant",
            "content": plan.outputs[0].text,
            "refusal": None,
            "annotations": [],
        },
        "logprobs": None,
        "finish_reason": "stop",
    }
    assert answer["usage"]["completion_tokens"] == 8
    assert reply.body_bytes == len(_body(reply))


@pytest.mark.parametrize("top", [None, 0, 1, 20])
def test_log_probabilities_are_openais(top: int | None) -> None:
    """One a token, the likeliest first; the same in a stream, token by token."""
    fields: dict[str, Any] = {"logprobs": True, "top_logprobs": top, "n": 2}
    plan, reply, _ = _whole("sim-fast:tokens=6", **fields)
    whole = [choice["logprobs"] for choice in json.loads(_body(reply))["choices"]]
    for logprobs, output in zip(whole, plan.outputs, strict=True):
        assert logprobs["refusal"] is None
        assert [it["token"] for it in logprobs["content"]] == list(output.tokens)
        for said in logprobs["content"]:
            assert bytes(said["bytes"]).decode() == said["token"]
            likely = said["top_logprobs"]
            assert len({it["token"] for it in likely}) == len(likely) == (top or 0)
            assert [it["logprob"] for it in likely] == sorted(
                (it["logprob"] for it in likely), reverse=True
            )
            assert likely[:1] in ([], [{key: said[key] for key in ("token", "logprob", "bytes")}])
            assert sum(exp(it["logprob"]) for it in likely) <= 1.000001
    choices = _choices(_chunks(_streamed("sim-fast:tokens=6", **fields)[1]))
    for index, logprobs in enumerate(whole):
        mine = [it["logprobs"] for it in choices if it["index"] == index]
        assert (mine[0], mine[-1]) == (None, None)
        assert [said for it in mine[1:-1] for said in it["content"]] == logprobs["content"]


def test_a_tool_call_has_no_log_probabilities() -> None:
    """They are of what is said."""
    tools = [{"type": "function", "function": {"name": "look"}}]
    fields: dict[str, Any] = {"tools": tools, "tool_choice": "required", "logprobs": True}
    (choice,) = json.loads(_body(_whole("sim-fast", **fields)[1]))["choices"]
    streamed = _choices(_chunks(_streamed("sim-fast", **fields)[1]))
    assert {str(it["logprobs"]) for it in (choice, *streamed)} == {"None"}


def test_whole_answer_without_usage_has_none() -> None:
    """``no-usage`` leaves the field out."""
    assert "usage" not in json.loads(_body(_whole("sim-fast:no-usage")[1]))


@pytest.mark.parametrize(
    ("fault", "ending", "announces_length"),
    [("cut", Ending.RESET, True), ("hang", Ending.HANG, True), ("eof", Ending.EOF, False)],
)
def test_whole_answer_breaks_off_inside_its_body(
    fault: str, ending: Ending, *, announces_length: bool
) -> None:
    """A broken answer is a beginning of the body; only a clean end does not announce more."""
    _, reply, body = _whole(f"sim-fast:tokens=20:{fault}=10")
    sent = _body(reply)
    assert body.startswith(sent)
    assert 0.4 < len(sent) / len(body) < 0.6
    assert reply.ending is ending
    assert (reply.body_bytes == len(body)) is announces_length


def test_whole_answer_s_bad_json_does_not_parse() -> None:
    """``badjson`` leaves the end of the body out."""
    with pytest.raises(json.JSONDecodeError):
        json.loads(_body(_whole("sim-fast:badjson")[1]))


def test_big_whole_answer_still_parses() -> None:
    """``big-chunk`` makes the body long, not wrong."""
    _, reply, body = _whole("sim-fast:big-chunk=1MB")
    assert reply.body_bytes == 1_000_000 + len(body)
    json.loads(_body(reply))


def test_whole_answer_is_due_when_its_last_token_is() -> None:
    """Nothing is sent before the answer is complete."""
    _, reply, _ = _whole("sim-chat:ttft=100ms:tps=10:tokens=3")
    assert reply.starts_ms == 300
    assert [due_ms for due_ms, _ in reply.frames] == [300]


def test_whole_answer_can_be_split_inside_a_character() -> None:
    """``split-utf8`` sends a body in two frames, the first of which is no UTF-8."""
    _, reply, body = _whole("sim-fast:split-utf8")
    frames = [data for _, data in reply.frames]
    assert len(frames) == 2
    assert _is_broken(frames[0])
    assert b"".join(frames) == body


def test_gzip_bomb_unpacks_to_its_size_and_the_answer() -> None:
    """A small body unpacks to white space of the size asked for, and then the answer."""
    _, reply, body = _whole("sim-fast:gzip-bomb=3MB")
    bomb = bombed(reply, 3_000_000)
    packed = _body(bomb)
    assert len(packed) < 30_000
    assert bomb.body_bytes == len(packed)
    assert (b"content-encoding", b"gzip") in bomb.headers
    assert gzip.decompress(packed) == b"\n" * 3_000_000 + body


def test_frames_are_in_the_order_of_time() -> None:
    """Whatever the pace and the faults, no frame is due before one that was sent earlier."""
    _, reply = _streamed("sim-chat:dup-chunk:badjson:after-end:tps=100", include_usage=True)
    earlier = -inf
    for due_ms, _ in reply.frames:
        assert due_ms >= earlier
        earlier = due_ms
