"""What is marked for the provider's prompt cache."""

import json
from typing import Any

import msgspec
import pytest

from services.model_caller.prompt_marks import LEAST_BYTES, mark_prompt, marking
from services.model_caller.wire import upstream_body
from services.shared.domain.configuration import Model, ModelTarget
from services.shared.domain.configuration_output import Output, PromptCaching
from tests.support.example_events import batch
from tests.support.scripted_provider import ScriptedProvider, answered
from tests.unit.model_caller.callers import Caller, member

LONG = "word " * LEAST_BYTES
MARK = {"type": "ephemeral"}
SYSTEM = {"role": "system", "content": LONG}
ASK = {"role": "user", "content": "How deep?"}


def tool(name: str, **fields: Any) -> dict[str, Any]:
    """A tool."""
    return {"type": "function", "function": {"name": name, "description": "d"}, **fields}


def part(text: str, **fields: Any) -> dict[str, Any]:
    """A part of a message."""
    return {"type": "text", "text": text, **fields}


def marked(**fields: Any) -> dict[str, Any]:
    """A request as the provider gets it."""
    body = json.dumps({"model": "m", **fields}).encode()
    document: dict[str, Any] = json.loads(
        upstream_body(body, model="m", stream=False, marks_prompt=True)
    )
    return document


def marks(document: Any) -> int:
    """How many marks there are."""
    return json.dumps(document).count('"cache_control"')


def test_a_long_system_prompt_is_marked_at_its_end() -> None:
    """A text becomes a part that bears the mark; nothing else changes."""
    document = marked(messages=[{"role": "system", "content": LONG}, ASK])
    assert document["messages"] == [
        {"role": "system", "content": [{"type": "text", "text": LONG, "cache_control": MARK}]},
        ASK,
    ]


def test_the_last_part_of_the_last_leading_message_is_marked() -> None:
    """The cache takes everything up to the mark."""
    parts = [{"type": "text", "text": LONG}, {"type": "text", "text": "End."}]
    document = marked(
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": parts},
            ASK,
            {"role": "system", "content": LONG},
        ]
    )
    assert document["messages"][1]["content"] == [parts[0], {**parts[1], "cache_control": MARK}]
    assert marks(document) == 1


def test_long_tools_are_marked_at_their_end_and_count_to_the_beginning() -> None:
    """Two marks of four: the tools, and the short system prompt after them."""
    tools = [tool("a", note=LONG), tool("b")]
    document = marked(tools=tools, messages=[{"role": "system", "content": "Be brief."}, ASK])
    assert document["tools"] == [tools[0], {**tools[1], "cache_control": MARK}]
    assert document["messages"][0]["content"][0]["cache_control"] == MARK
    assert marks(document) == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [{"role": "system", "content": "Be brief."}, ASK]},
        {"messages": [ASK, {"role": "system", "content": LONG}]},
        {"messages": [{"role": "user", "content": LONG}]},
        {"messages": [{"role": "system", "content": [part(LONG), part("")]}, ASK]},
        {"messages": [SYSTEM, {"role": "user", "content": [part("x", cache_control=MARK)]}]},
        {"messages": [SYSTEM, ASK], "tools": [tool("a", cache_control=MARK)]},
        {"messages": [SYSTEM, ASK], "cache_control": MARK},
        {"prompt": LONG},
    ],
)
def test_what_is_short_or_marked_already_goes_on_as_it_is(fields: dict[str, Any]) -> None:
    """A caller who marks anything decides for himself."""
    assert marked(**fields) == {"model": "m", **fields}


def test_words_about_marks_are_no_marks() -> None:
    """A prompt may speak of the field."""
    document = marked(messages=[{"role": "system", "content": f'"cache_control" {LONG}'}, ASK])
    assert isinstance(document["messages"][0]["content"], list)


def test_a_conversation_of_system_messages_alone_is_marked() -> None:
    """There need not be a user."""
    fields = {"messages": msgspec.Raw(json.dumps([{"role": "system", "content": LONG}]).encode())}
    mark_prompt(fields)
    assert b"cache_control" in bytes(fields["messages"])


@pytest.mark.parametrize(
    ("policy", "takes", "expected"),
    [
        (PromptCaching.INJECT, True, 1),
        (PromptCaching.INJECT, False, 0),
        (PromptCaching.PASS, True, 0),
    ],
)
async def test_only_who_takes_marks_gets_them_and_only_by_policy(
    policy: PromptCaching, *, takes: bool, expected: int
) -> None:
    """The alias says that it is wanted, the provider that it is understood."""
    provider = ScriptedProvider(answered)
    targets = (ModelTarget(provider="first", model="one"),)
    caller = Caller(
        {"first": provider},
        models={"small": Model(targets=targets, output=Output(prompt_caching=policy))},
        takes_cache_control=takes,
    )
    body = json.dumps({"model": "small", "messages": [{"role": "system", "content": LONG}, ASK]})
    await caller.serve(batch(member(1, body=body.encode(), model="small")))
    assert marks(provider.asked[0].body) == expected


async def test_a_callers_own_marks_go_on_untouched() -> None:
    """Whatever the policy; the provider's answer to it is the caller's."""
    provider = ScriptedProvider(answered)
    parts = [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    messages = [{"role": "user", "content": parts}]
    body = json.dumps({"model": "small", "messages": messages}).encode()
    await Caller({"first": provider}).serve(batch(member(1, body=body)))
    assert provider.asked[0].body["messages"] == messages


def test_patterns_of_aliases_are_followed() -> None:
    """An alias without a section is not marked."""
    targets = (ModelTarget(provider="first"),)
    output = Output(prompt_caching=PromptCaching.INJECT)
    marks_it = marking({"claude-*": Model(targets=targets, output=output)})
    assert marks_it("claude-x")
    assert not marks_it("other")
