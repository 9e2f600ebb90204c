"""Requests that are cancelled while they share a call, or wait for one."""

import asyncio
from typing import Any

import msgspec
import pytest

from services.model_caller.gates import Pass
from services.model_caller.wishes import Wish
from tests.support.example_events import batch, request_id
from tests.support.scripted_provider import (
    Asked,
    Script,
    ScriptedProvider,
    answered,
    embedded,
    refused,
    whole,
)
from tests.unit.model_caller.callers import TARGETS, Caller, Served, embedding, member, merged

LANES = pytest.mark.parametrize("priority", [0, 2])


def outcomes(served: Served) -> dict[str, str]:
    """How the requests ended."""
    assert len({it.request_id for it in served.finished}) == len(served.finished)
    return {it.request_id: it.outcome for it in served.finished}


def of_batch(**outcome: str) -> dict[str, str]:
    """How requests ended, by their numbers."""
    return {request_id(int(number[1:])): it for number, it in outcome.items()}


def slow(asked: Asked) -> Script:
    """Embeddings that take three seconds."""
    return msgspec.structs.replace(embedded(asked), before=[3.0])


def flaky() -> ScriptedProvider:
    """A provider that fails slowly once, and then answers slowly."""
    calls = 0

    def play(asked: Asked) -> Script:
        nonlocal calls
        calls += 1
        if calls == 1:
            return msgspec.structs.replace(refused(503), before=[3.0])
        return slow(asked)

    return ScriptedProvider(play)


def rejecting(asked: Asked) -> Script:
    """A provider that takes three seconds to find that it does not like one of the inputs."""
    return msgspec.structs.replace(
        refused(400) if "bad" in asked.body["input"] else embedded(asked), before=[3.0]
    )


def sharing(*inputs: str) -> list[Any]:
    """Requests that share a call, numbered from 1."""
    return [
        embedding(number, b'{"model":"e","input":["%s"]}' % text.encode())
        for number, text in enumerate(inputs, 1)
    ]


async def test_a_member_that_is_cancelled_leaves_the_call_to_the_others() -> None:
    """The call goes on, and each pays for its share: the cancelled one as well."""
    provider = ScriptedProvider(slow)
    caller = Caller({"first": provider})
    members = sharing("a", "b", "c")
    serving = asyncio.ensure_future(caller.serve(merged(*members)))
    await asyncio.sleep(1)
    caller.cancel(members[1].request)
    served = await serving
    assert outcomes(served) == of_batch(_1="completed", _2="cancelled", _3="completed")
    error = served.of(request_id(2)).error
    assert error is not None
    assert error.code == "request_cancelled"
    kinds = {it.request_id: (it.kind, it.status) for it in served.chunks}
    assert kinds[request_id(2)] == ("error", 499)
    assert kinds[request_id(1)] == kinds[request_id(3)] == ("end", 200)
    assert len(provider.asked) == 1
    assert len(served.rows) == 3
    assert sum(row.usage.input_tokens for row in served.rows) == 9


async def test_a_call_whose_members_are_all_cancelled_is_stopped() -> None:
    """When the last one is."""
    provider = ScriptedProvider(slow)
    caller = Caller({"first": provider})
    members = sharing("a", "b")
    serving = asyncio.ensure_future(caller.serve(merged(*members)))
    await asyncio.sleep(1)
    caller.cancel(members[0].request)
    await asyncio.sleep(1)
    assert provider.in_flight == 1
    caller.cancel(members[1].request)
    await asyncio.sleep(0.1)
    assert provider.in_flight == 0
    assert outcomes(await serving) == of_batch(_1="cancelled", _2="cancelled")


async def test_a_cancelled_member_stays_so_when_its_call_is_repeated() -> None:
    """The repetition serves the others."""
    provider = flaky()
    caller = Caller({"first": provider})
    members = sharing("a", "b")
    serving = asyncio.ensure_future(caller.serve(merged(*members)))
    await asyncio.sleep(1)
    caller.cancel(members[0].request)
    assert outcomes(await serving) == of_batch(_1="cancelled", _2="completed")


async def test_a_cancelled_member_is_not_asked_for_again_when_its_call_is_taken_apart() -> None:
    """It ends; the others are asked for without it."""
    provider = ScriptedProvider(rejecting)
    caller = Caller({"first": provider})
    members = sharing("a", "bad")
    serving = asyncio.ensure_future(caller.serve(merged(*members)))
    await asyncio.sleep(1)
    caller.cancel(members[0].request)
    assert outcomes(await serving) == of_batch(_1="cancelled", _2="failed")
    assert [asked.body["input"] for asked in provider.asked] == [["a", "bad"], ["bad"]]


async def pass_of(caller: Caller) -> Pass:
    """Take a slot of the first provider."""
    entry = await caller.gates.enter(TARGETS[0], Wish(lane=0, tokens=1))
    assert isinstance(entry, Pass)
    return entry


@LANES
async def test_a_request_cancelled_while_it_waits_for_a_slot_ends_without_a_call(
    priority: int,
) -> None:
    """At once; and the slot goes to the next."""
    provider = ScriptedProvider(answered)
    caller = Caller({"first": provider}, slots=1)
    held = await pass_of(caller)
    waiting = member(1, priority=priority)
    serving = asyncio.ensure_future(caller.serve(batch(waiting)))
    await asyncio.sleep(0.5)
    caller.cancel(waiting.request)
    served = await asyncio.wait_for(serving, 0.1)
    assert (served.one.outcome, served.code) == ("cancelled", "request_cancelled")
    assert [(it.kind, it.status) for it in served.chunks] == [("error", 499)]
    assert provider.asked == []
    assert served.rows == []
    with held:
        pass
    assert (await caller.serve(batch(member(2)))).one.outcome == "completed"


async def test_a_request_cancelled_as_its_slot_comes_gives_it_back() -> None:
    """In whichever order the two are heard of."""
    provider = ScriptedProvider([whole()])
    caller = Caller({"first": provider}, slots=1)
    held = await pass_of(caller)
    waiting = member(1)
    serving = asyncio.ensure_future(caller.serve(batch(waiting)))
    await asyncio.sleep(0.5)
    with held:
        pass
    caller.cancel(waiting.request)
    assert (await serving).one.outcome == "cancelled"
    assert (await caller.serve(batch(member(2)))).one.outcome == "completed"
