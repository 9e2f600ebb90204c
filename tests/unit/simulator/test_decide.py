"""What a call gets: faults, refusals, and the plan of the answer."""

import json
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.simulator.behaviour import Fault, FaultKind, Operation
from services.simulator.decide import (
    hangs_before_headers,
    plan_answer,
    refusal_of,
    struck_faults,
)
from services.simulator.refusals import Refusal
from tests.unit.simulator.asks import asked, asked_or_refused, known, planned

TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "unit": {"type": "string", "enum": ["c", "f"]},
                "days": {"type": "integer", "minimum": 1, "maximum": 7},
            },
            "required": ["city", "unit", "days"],
            "additionalProperties": False,
        },
    },
}


def _refusal(model: str, operation: Operation = Operation.CHAT, **fields: Any) -> Refusal | None:
    behaviour = known(model)
    wanted = asked(model, operation=operation, **fields)
    faults = struck_faults(behaviour, wanted.seed, earlier_calls=0)
    return refusal_of(operation, wanted, behaviour, faults)


@pytest.mark.parametrize(
    ("model", "operation", "fields", "status", "code"),
    [
        ("sim-embed", Operation.CHAT, {}, 404, ""),
        ("sim-embed", Operation.COMPLETION, {}, 404, ""),
        ("sim-fast", Operation.EMBEDDING, {}, 403, ""),
        ("sim-fast:context=30", Operation.CHAT, {"max_tokens": 30}, 400, "context_length_exceeded"),
        ("sim-fast:context=3", Operation.CHAT, {}, 400, "context_length_exceeded"),
        ("sim-fast:reject=queue", Operation.CHAT, {}, 400, ""),
        ("sim-embed:reject=bad", Operation.EMBEDDING, {"content": ["good", "bad"]}, 400, ""),
        ("sim-fast:fail=429", Operation.CHAT, {}, 429, "rate_limit_exceeded"),
        ("sim-fast:fail=418", Operation.CHAT, {}, 418, ""),
        ("sim-fast:fail=599", Operation.CHAT, {}, 599, ""),
        ("sim-fast:fail=quota", Operation.CHAT, {}, 429, "insufficient_quota"),
        ("sim-fast:error=3", Operation.CHAT, {}, 500, ""),
    ],
)
def test_call_is_refused(
    model: str, operation: Operation, fields: dict[str, Any], status: int, code: str
) -> None:
    """A call that the model cannot or shall not serve is refused with OpenAI's status and code."""
    refusal = _refusal(model, operation, **fields)
    assert refusal is not None
    assert (refusal.status, refusal.code) == (status, code)


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        ("sim-fast", {}),
        ("sim-fast:context=60", {"max_tokens": 30}),
        ("sim-fast:reject=stack", {}),
        ("sim-fast:error=3", {"stream": True}),
        ("sim-fast:cut=3", {}),
    ],
)
def test_call_is_not_refused(model: str, fields: dict[str, Any]) -> None:
    """What fits, and what breaks only later, is not refused."""
    assert _refusal(model, **fields) is None


def test_only_the_first_calls_of_a_prompt_fail() -> None:
    """``fail-first`` fails with 500 where the name has no fault, and stops after its count."""
    behaviour = known("sim-fast:fail-first=2")
    failing = {FaultKind.FAIL: Fault(FaultKind.FAIL, 500)}
    struck = [struck_faults(behaviour, 1, earlier_calls=earlier) for earlier in range(3)]
    assert struck == [failing, failing, {}]


def test_first_calls_meet_the_faults_that_the_name_has() -> None:
    """With another fault in the name, ``fail-first`` bounds that fault and adds none."""
    behaviour = known("sim-fast:cut=4:fail-first=1")
    assert struck_faults(behaviour, 1, earlier_calls=0) == {FaultKind.CUT: Fault(FaultKind.CUT, 4)}
    assert struck_faults(behaviour, 1, earlier_calls=1) == {}


def test_ratio_is_the_share_of_requests_that_a_fault_strikes() -> None:
    """Of many different requests a fault with ratio 0.1 strikes about a tenth, always the same."""
    behaviour = known("sim-fast:fail=500@0.1")
    seeds = [asked(content=f"question {number}").seed for number in range(2_000)]
    struck = [bool(struck_faults(behaviour, seed, earlier_calls=0)) for seed in seeds]
    assert 0.07 < sum(struck) / len(struck) < 0.13
    assert struck == [bool(struck_faults(behaviour, seed, earlier_calls=5)) for seed in seeds]


@pytest.mark.parametrize(
    ("model", "hangs"), [("sim-fast:hang", True), ("sim-fast:hang=3", False), ("sim-fast", False)]
)
def test_only_a_hang_without_place_is_before_the_headers(model: str, *, hangs: bool) -> None:
    """``hang`` and ``hang=headers`` send nothing; ``hang=3`` sends three tokens first."""
    assert hangs_before_headers(planned(model).faults) is hangs


@given(
    content=st.text(max_size=200),
    max_tokens=st.integers(1, 400) | st.none(),
    count=st.integers(1, 4),
    seed=st.integers(0, 9) | st.none(),
)
def test_same_request_gets_the_same_plan_within_its_limit(
    content: str, max_tokens: int | None, count: int, seed: int | None
) -> None:
    """Plans are deterministic; no choice is longer than asked for; a cut one says ``length``."""
    fields: dict[str, Any] = {
        "content": content,
        "max_tokens": max_tokens,
        "n": count,
        "seed": seed,
    }
    plan = planned("sim-chat", **fields)
    assert plan == planned("sim-chat", **fields)
    assert len(plan.outputs) == count
    assert plan.output_tokens == sum(len(output.tokens) for output in plan.outputs)
    for output in plan.outputs:
        limit = max_tokens or 128_000
        assert 1 <= len(output.tokens) <= limit
        assert output.finish_reason in ("stop", "length")
        if output.finish_reason == "length":
            assert len(output.tokens) == limit


def test_different_requests_get_different_answers() -> None:
    """The prompt, the base model, ``seed`` and the choice's index each change the text."""
    texts = [
        planned().outputs[0].text,
        planned(content="What is a stack?").outputs[0].text,
        planned("sim-chat").outputs[0].text,
        planned(seed=1).outputs[0].text,
        planned(n=2).outputs[1].text,
    ]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize(
    "model", ["sim-fast:cut=3", "sim-fast:lie-usage", "sim-fast:delay=5ms:tps=10"]
)
def test_options_do_not_change_what_is_said(model: str) -> None:
    """A broken or slow answer is the whole one of the same base model, broken or slow."""
    assert planned(model).outputs == planned().outputs
    assert planned(stream=True).outputs == planned().outputs


def test_exact_length_is_exact_unless_the_request_ends_it() -> None:
    """``tokens=N`` gives N tokens and ``stop``; ``max_tokens`` below gives that and ``length``."""
    whole = planned("sim-fast:tokens=50").outputs[0]
    assert (len(whole.tokens), whole.finish_reason) == (50, "stop")
    cut = planned("sim-fast:tokens=50", max_completion_tokens=20, max_tokens=30).outputs[0]
    assert (cut.tokens, cut.finish_reason) == (whole.tokens[:20], "length")
    assert planned("sim-fast:tokens=0").outputs[0].tokens == ()


def test_lengths_are_lognormal_around_the_median() -> None:
    """Half of the answers are longer than 120 tokens, give or take a sentence; few are short."""
    lengths = sorted(planned(content=f"q{number}").output_tokens for number in range(400))
    assert 110 < lengths[200] < 150
    assert lengths[20] < 80
    assert lengths[-20] > 240


def test_answer_ends_before_a_stop_text() -> None:
    """The answer ends where the first of the stop texts would begin, with ``stop``."""
    whole = planned().outputs[0].text
    stops = [whole[60:66], whole[30:36], "never said"]
    end = min(whole.find(stop) for stop in stops[:2])
    stopped = planned(stop=stops).outputs[0]
    assert (stopped.text, stopped.finish_reason) == (whole[:end], "stop")
    assert planned(stop=whole[:5]).outputs[0].tokens == ()
    inside_the_last_token = planned("sim-fast:echo", content="hello wörld", stop="ld").outputs[0]
    assert inside_the_last_token.tokens == ("hello", " wör")
    assert planned(stop=["never said", ""]).outputs[0].text == whole


def test_echo_repeats_the_last_user_message() -> None:
    """``echo`` says the user's words; in a list of prompts each its own."""
    assert planned("sim-fast:echo", content="Grüße, 世界!").outputs[0].text == "Grüße, 世界!"
    texts = [
        output.text
        for output in planned(
            "sim-fast:echo", operation=Operation.COMPLETION, content=["one two", "three"]
        ).outputs
    ]
    assert texts == ["one two", "three"]


def test_prompt_is_completed_alike_alone_and_in_a_list() -> None:
    """Merging prompts into one call changes no completion."""
    prompts = ["Once upon a time", "In the beginning", "It was"]
    together = planned(operation=Operation.COMPLETION, content=prompts).outputs
    alone = [
        planned(operation=Operation.COMPLETION, content=prompt).outputs[0] for prompt in prompts
    ]
    assert list(together) == alone
    assert all(len(output.tokens) == 16 for output in together)


@pytest.mark.parametrize(
    ("content", "choice", "calls"),
    [
        ("Please get_weather in Oslo", None, True),
        ("Please get_weather in Oslo", "auto", True),
        ("Please get_weather in Oslo", "none", False),
        ("Say hello", None, False),
        ("Say hello", "required", True),
        ("Say hello", {"type": "function", "function": {"name": "get_weather"}}, True),
    ],
)
def test_tool_is_called_when_forced_or_named(content: str, choice: object, *, calls: bool) -> None:
    """A function is called if the choice forces it, or if it is free and the user names it."""
    fields: dict[str, Any] = {"tools": [TOOL], "tool_choice": choice}
    output = planned(content=content, **fields).outputs[0]
    assert (output.tool, output.finish_reason) == (
        ("get_weather", "tool_calls") if calls else ("", "stop")
    )
    if calls:
        assert len(output.tokens) > 3
        jsonschema_rs.validate(TOOL["function"]["parameters"], json.loads(output.text))


def test_required_tool_is_the_one_that_the_user_names() -> None:
    """With ``required`` the named function is called, else the first."""
    other = {"type": "function", "function": {"name": "get_time"}}
    tools = [TOOL, other]
    named = planned(content="get_time now", tools=tools, tool_choice="required").outputs[0]
    first = planned(content="hello", tools=tools, tool_choice="required").outputs[0]
    assert (named.tool, named.text, first.tool) == ("get_time", "{}", "get_weather")


@pytest.mark.parametrize(
    ("content", "mode", "allowed", "called"),
    [
        ("hello", "required", ["get_time"], "get_time"),
        ("hello", "auto", ["get_time"], ""),
        ("get_time now", "auto", ["get_time"], "get_time"),
        ("get_weather now", "auto", ["get_time"], ""),
        ("get_weather now", "required", ["get_time", "get_weather"], "get_weather"),
    ],
)
def test_only_allowed_tools_are_called(
    content: str, mode: str, allowed: list[str], called: str
) -> None:
    """Among them the choice is as among all: the named one, or where one is required the first."""
    other = {"type": "function", "function": {"name": "get_time"}}
    named = [{"type": "function", "function": {"name": name}} for name in allowed]
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": named}}
    fields: dict[str, Any] = {"tools": [TOOL, other], "tool_choice": choice}
    assert planned(content=content, **fields).outputs[0].tool == called


def test_tool_arguments_that_are_cut_say_length() -> None:
    """A tool call beyond ``max_tokens`` ends with ``length``, like any answer."""
    output = planned(tools=[TOOL], tool_choice="required", max_tokens=2).outputs[0]
    assert (len(output.tokens), output.finish_reason) == (2, "length")


@pytest.mark.parametrize(
    ("response_format", "schema"),
    [
        ({"type": "json_object"}, {"type": "object"}),
        (
            {
                "type": "json_schema",
                "json_schema": {
                    "name": "verdict",
                    "schema": {"type": "object", "properties": {"ok": {"type": "boolean"}}},
                },
            },
            {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]},
        ),
    ],
)
def test_answer_is_json_where_asked_for(
    response_format: dict[str, Any], schema: dict[str, Any]
) -> None:
    """``response_format`` gives JSON that satisfies the schema."""
    output = planned(response_format=response_format).outputs[0]
    jsonschema_rs.validate(schema, json.loads(output.text))
    assert output.finish_reason == "stop"


def test_text_format_is_text() -> None:
    """``response_format`` ``text`` changes nothing."""
    assert planned(response_format={"type": "text"}).outputs == planned().outputs


def test_filtered_answer_is_cut_and_says_so() -> None:
    """``content-filter`` keeps its number of tokens and gives that finish reason."""
    output = planned("sim-fast:content-filter=4").outputs[0]
    assert (len(output.tokens), output.finish_reason) == (4, "content_filter")


def test_split_characters_are_among_the_first_tokens() -> None:
    """``split-utf8`` answers start with characters that can be split."""
    assert not "".join(planned("sim-fast:split-utf8").outputs[0].tokens[:3]).isascii()


@pytest.mark.parametrize(
    ("model", "inputs", "work_ms", "service_ms"),
    [
        ("sim-embed", 5, 0, 0),
        ("sim-embed-serial", 1, 20.5, 20.5),
        ("sim-embed-serial", 64, 52, 52),
        ("sim-embed:delay=10ms:per-item=2ms", 3, 16, 16),
    ],
)
def test_embedding_takes_time_per_call_and_per_input(
    model: str, inputs: int, work_ms: float, service_ms: float
) -> None:
    """The work of a call is a fixed time and one for each of its inputs."""
    texts = [f"text {number}" for number in range(inputs)]
    plan = planned(model, operation=Operation.EMBEDDING, content=texts)
    assert (plan.work_ms, plan.service_ms, plan.outputs) == (work_ms, service_ms, ())


def test_answer_takes_its_first_token_and_its_pace() -> None:
    """Service lasts from the work over the first token to the last one of the longest choice."""
    plan = planned("sim-chat:ttft=200ms:tps=50:tokens=11:delay=30ms:per-item=5ms")
    assert (plan.work_ms, plan.ttft_ms, plan.ms_per_token) == (35, 200, 20)
    assert plan.service_ms == 35 + 200 + 10 * 20
    assert planned("sim-chat:ttft=200ms:tokens=0").service_ms == 200


def test_times_to_first_token_are_spread_around_the_median() -> None:
    """Without ``ttft`` the times are lognormal: half below 300 ms, and a tail."""
    times_ms = sorted(planned("sim-chat", content=f"q{number}").ttft_ms for number in range(400))
    assert 270 < times_ms[200] < 330
    assert times_ms[20] < 180
    assert times_ms[-20] > 500


@pytest.mark.parametrize(
    ("fields", "operation", "param"),
    [
        ({"tool_choice": "required"}, Operation.CHAT, "tool_choice"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "other"}}},
            Operation.CHAT,
            "tool_choice",
        ),
        (
            {
                "tools": [TOOL],
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {
                        "mode": "auto",
                        "tools": [{"type": "function", "function": {"name": "other"}}],
                    },
                },
            },
            Operation.CHAT,
            "tool_choice",
        ),
        ({"top_logprobs": 2}, Operation.CHAT, "top_logprobs"),
        (
            {"response_format": {"type": "json_schema"}},
            Operation.CHAT,
            "response_format.json_schema",
        ),
        ({"content": []}, Operation.COMPLETION, "prompt"),
        ({"content": ""}, Operation.COMPLETION, "prompt"),
        ({"content": ["a", 1]}, Operation.COMPLETION, "prompt"),
        ({"content": ["a"] * 100, "n": 100}, Operation.COMPLETION, "n"),
        ({"content": ["a", ""]}, Operation.EMBEDDING, "input"),
        ({"content": [[1], []]}, Operation.EMBEDDING, "input"),
        ({"content": ["a"] * 2_049}, Operation.EMBEDDING, "input"),
        ({"content": "a", "dimensions": 385}, Operation.EMBEDDING, "dimensions"),
    ],
)
def test_contradictory_request_is_refused_by_its_field(
    fields: dict[str, Any], operation: Operation, param: str
) -> None:
    """What decodes and still makes no sense is 400 and names the field."""
    model = "sim-embed" if operation is Operation.EMBEDDING else "sim-fast"
    refused = asked_or_refused(model, operation=operation, **fields)
    assert isinstance(refused, Refusal)
    assert (refused.status, refused.param) == (400, param)


@pytest.mark.parametrize(
    ("operation", "content", "inputs", "input_tokens"),
    [
        (Operation.CHAT, "12345678", 1, 3 + 4 + 2),
        (Operation.CHAT, "ééé", 1, 3 + 4 + 2),
        (Operation.CHAT, [{"type": "text", "text": "1234"}, {"type": "image_url"}], 1, 3 + 4 + 86),
        (Operation.COMPLETION, "12345", 1, 2),
        (Operation.COMPLETION, ["1234", "12345"], 2, 3),
        (Operation.COMPLETION, [1, 2, 3], 1, 3),
        (Operation.EMBEDDING, [[1, 2, 3], [4]], 2, 4),
    ],
)
def test_input_tokens_follow_from_the_bytes(
    operation: Operation, content: object, inputs: int, input_tokens: int
) -> None:
    """Four bytes are a token; messages, conversations and images cost what the README says."""
    model = "sim-embed" if operation is Operation.EMBEDDING else "sim-fast"
    wanted = asked(model, operation=operation, content=content)
    assert (len(wanted.inputs), wanted.input_tokens) == (inputs, input_tokens)


def test_tools_count_as_input() -> None:
    """Tool definitions are paid for: four bytes a token."""
    with_tools = asked(tools=[TOOL]).input_tokens
    assert with_tools - asked().input_tokens == len(json.dumps([TOOL])) // 4


def test_plan_of_an_embedding_ignores_what_only_text_has() -> None:
    """An embedding call has no outputs, whatever faults its name carries."""
    behaviour = known("sim-embed:cut=3:content-filter")
    wanted = asked("sim-embed", operation=Operation.EMBEDDING, content="text")
    plan = plan_answer(wanted, behaviour, struck_faults(behaviour, 1, earlier_calls=0))
    assert plan.outputs == ()
    assert plan.output_tokens == 0
