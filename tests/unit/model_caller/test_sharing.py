"""Calls of several batches as one."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from services.model_caller import sharing
from services.model_caller.gates import Pass
from services.model_caller.packing import CallLimits
from services.model_caller.wishes import Wish
from tests.support.example_events import request_id
from tests.support.fake_clock import START_MS
from tests.support.scripted_provider import (
    FOREVER,
    Asked,
    Script,
    ScriptedAnswer,
    ScriptedProvider,
    embedded,
    refused,
)
from tests.unit.model_caller.callers import TARGETS, Caller, Served, embedding, merged


def text(word: str, **fields: Any) -> bytes:
    """A body."""
    return json.dumps({"model": "e", "input": word, **fields}).encode()


def taking(seconds: float, *, refusing: str = "") -> ScriptedProvider:
    """A provider that takes its time, and refuses calls with an input."""

    def play(asked: Asked) -> Script:
        answer = refused(400) if refusing and refusing in listed(asked) else embedded(asked)
        return Script(status=answer.status, before=[seconds], frames=answer.frames)

    return ScriptedProvider(play)


def listed(asked: Asked) -> list[str]:
    """The inputs of a call."""
    given = asked.body["input"]
    return [given] if isinstance(given, str) else given


async def served(caller: Caller, *words: str, **changes: Any) -> list[Served]:
    """Serve batches of one request each, side by side."""
    return list(
        await asyncio.gather(
            *(
                caller.serve(merged(embedding(i, text(word), **changes)))
                for i, word in enumerate(words, start=1)
            )
        )
    )


def codes(several: list[Served]) -> list[str]:
    """How their requests ended: the error, or nothing."""
    return [one.code for one in several]


async def test_batches_that_are_ready_together_are_one_call() -> None:
    """Each gets its own answer, and what it cost adds up."""
    provider = taking(1.0)
    several = await served(Caller({"first": provider}), "a", "bb", "ccc", "a")
    (asked,) = provider.asked
    assert sorted(listed(asked)) == ["a", "bb", "ccc"]
    answers = [json.loads(one.one.response)["data"][0]["embedding"] for one in several]
    assert answers == [[1.0], [2.0], [3.0], [1.0]]
    assert sum(one.one.usage.input_tokens for one in several) == 9
    assert sum(one.rows[0].cost_nanousd for one in several) == 9_000


async def test_what_comes_during_a_call_is_the_next_one() -> None:
    """Nothing waits for company, only for the call that is under way."""
    provider = taking(1.0)
    caller = Caller({"first": provider})
    first = asyncio.create_task(caller.serve(merged(embedding(1, text("a")))))
    await asyncio.sleep(0.5)
    later = [
        asyncio.create_task(caller.serve(merged(embedding(i, text("b" * i))))) for i in (2, 3, 4)
    ]
    await asyncio.gather(first, *later)
    assert [len(listed(asked)) for asked in provider.asked] == [1, 3]
    assert provider.asked[1].at_s - provider.asked[0].at_s == pytest.approx(1.0, abs=0.01)
    saved = caller.registry.get_sample_value(
        "millrace_shared_calls_saved_total",
        {"provider": "first", "model": "one", "operation": "embeddings"},
    )
    assert saved == 2


@pytest.mark.parametrize(("isolates", "calls"), [(False, [["a"], ["b"]]), (True, [["a", "b"]])])
async def test_tenants_share_a_call_only_where_inputs_are_isolated(
    *, isolates: bool, calls: list[list[str]]
) -> None:
    """What one tenant sends must not shape what another gets."""
    provider = taking(1.0)
    caller = Caller({"first": provider}, isolates_inputs=isolates)
    await asyncio.gather(
        caller.serve(merged(embedding(1, text("a"), tenant="one"))),
        caller.serve(merged(embedding(2, text("b"), tenant="two"))),
    )
    assert sorted(map(listed, provider.asked)) == calls


async def test_other_parameters_are_other_calls() -> None:
    """And a batch that is not to be merged shares nothing."""
    provider = taking(1.0)
    caller = Caller({"first": provider})
    alone = merged(embedding(3, text("c")))
    await asyncio.gather(
        caller.serve(merged(embedding(1, text("a")))),
        caller.serve(merged(embedding(2, text("b", dimensions=2)))),
        caller.serve(type(alone)(**{**_fields(alone), "merge": False})),
    )
    assert sorted(map(listed, provider.asked)) == [["a"], ["b"], ["c"]]


def _fields(batch: Any) -> dict[str, Any]:
    return {name: getattr(batch, name) for name in batch.__struct_fields__}


async def test_one_bad_batch_fails_alone() -> None:
    """Those that shared its call are asked for by themselves."""
    provider = taking(0.1, refusing="bad")
    several = await served(Caller({"first": provider}), "a", "bad", "c")
    assert codes(several) == ["", "provider_rejected", ""]
    assert len(provider.asked) == 1 + 3


async def test_a_shared_call_counts_as_one_request() -> None:
    """Twenty that share a call pass where five requests may be made at once."""
    provider = taking(0.1)
    caller = Caller({"first": provider}, requests_per_minute=60)
    several = await served(caller, *(f"word {i}" for i in range(20)))
    assert set(codes(several)) == {""}
    assert len(provider.asked) == 1
    assert await _requests_left(caller) == 4


async def test_calls_asked_for_apart_count_one_request_each() -> None:
    """The shared call and those after it: one and three of five."""
    caller = Caller({"first": taking(0.01, refusing="bad")}, requests_per_minute=60)
    await served(caller, "a", "bad", "c")
    assert await _requests_left(caller) == 1


async def _requests_left(caller: Caller) -> int:
    """Calls that may be made at once now; they are made."""
    wish, left = Wish(lane=0, tokens=1, patience_ms=0), 0
    while isinstance(await caller.gates.enter(TARGETS[0], wish), Pass):
        left += 1
    return left


async def test_who_waits_for_the_rate_is_joined_by_who_comes_meanwhile() -> None:
    """Nobody of them is told that there is no room, and few calls are made, not one for each."""
    provider = taking(0.1)
    caller = Caller({"first": provider}, requests_per_minute=60)
    while await _requests_left(caller):
        pass
    several = await served(caller, *(f"word {i}" for i in range(20)))
    assert set(codes(several)) == {""}
    assert len(provider.asked) <= 2


async def test_a_provider_that_is_down_fails_all_without_being_asked_for_each() -> None:
    """It is asked again as often as for one."""
    provider = ScriptedProvider([refused(503)])
    several = await served(Caller({"first": provider}), "a", "b", "c")
    assert set(codes(several)) == {"provider_overloaded"}
    assert len(provider.asked) == 3


async def test_a_shared_call_that_fails_counts_once() -> None:
    """Ten batches that shared it do not open the provider's circuit, and all are served then."""

    def play(asked: Asked) -> Script:
        return embedded(asked) if len(provider.asked) > 1 else refused(503)

    provider = ScriptedProvider(play)
    caller = Caller({"first": provider})
    several = await served(caller, *(f"text {i}" for i in range(10)))
    assert set(codes(several)) == {""}
    assert len(provider.asked) == 2
    labels = {"provider": "first", "model": "one", "code": "provider_overloaded"}
    assert caller.registry.get_sample_value("millrace_model_calls_total", labels) == 1


async def test_who_cannot_wait_leaves_and_the_call_goes_on() -> None:
    """By its deadline, or because it is cancelled."""
    provider = taking(2.0)
    caller = Caller({"first": provider})
    hasty = embedding(1, text("a"), deadline_at=int(START_MS) + 1_000)
    cancelled = embedding(2, text("b"))
    tasks = [
        asyncio.create_task(caller.serve(merged(one)))
        for one in (hasty, cancelled, embedding(3, text("c")))
    ]
    await asyncio.sleep(0.5)
    caller.cancel(cancelled.request)
    several = await asyncio.gather(*tasks)
    assert codes(several) == ["deadline_exceeded", "request_cancelled", ""]
    assert several[1].rows[0].usage.input_tokens == 3
    assert len(provider.asked) == 1


async def test_a_call_that_nobody_waits_for_is_stopped() -> None:
    """It would only cost money."""
    provider = ScriptedProvider(lambda _asked: Script(before=[FOREVER]))
    caller = Caller({"first": provider})
    one = embedding(1, text("a"))
    task = asyncio.create_task(caller.serve(merged(one)))
    await asyncio.sleep(0.5)
    caller.cancel(one.request)
    await task
    await asyncio.sleep(0)
    assert provider.in_flight == 0


async def test_who_was_cancelled_before_his_call_pays_nothing() -> None:
    """It was never sent."""
    provider = taking(2.0)
    caller = Caller({"first": provider})
    first = asyncio.create_task(caller.serve(merged(embedding(1, text("a")))))
    await asyncio.sleep(0.5)
    second = embedding(2, text("b"))
    task = asyncio.create_task(caller.serve(merged(second)))
    await asyncio.sleep(0.5)
    caller.cancel(second.request)
    assert (await task).rows[0].cost_nanousd == 0
    await first
    assert len(provider.asked) == 1


async def test_calls_hold_what_the_provider_takes() -> None:
    """Within a batch, and over batches."""
    provider = taking(1.0)
    caller = Caller({"first": provider}, call_limits=CallLimits(inputs=2, tokens=1_000))
    batch = merged(*(embedding(i, text("x" * i)) for i in range(1, 6)))
    one = await caller.serve(batch)
    assert {it.outcome for it in one.finished} == {"completed"}
    assert sorted(len(listed(asked)) for asked in provider.asked) == [1, 2, 2]


async def test_the_urgent_go_first() -> None:
    """By priority, then by deadline, whoever came first."""
    provider = taking(1.0)
    caller = Caller({"first": provider}, call_limits=CallLimits(inputs=1))
    first = asyncio.create_task(caller.serve(merged(embedding(9, text("first")))))
    await asyncio.sleep(0.5)
    waiting = [("late", 2, 60), ("background", 3, 10), ("soon", 2, 30), ("user", 0, 90)]
    tasks = [
        asyncio.create_task(
            caller.serve(
                merged(
                    embedding(
                        i, text(word), priority=priority, deadline_at=int(START_MS) + in_s * 1000
                    )
                )
            )
        )
        for i, (word, priority, in_s) in enumerate(waiting)
    ]
    await asyncio.gather(first, *tasks)
    order = [listed(asked)[0] for asked in provider.asked]
    assert order.index("user") < order.index("soon") < order.index("late")
    assert order.index("late") < order.index("background")


async def test_lanes_that_nobody_uses_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers may name any parameter at will."""
    monkeypatch.setattr(sharing, "_MOST_LANES", 4)
    caller = Caller({"first": ScriptedProvider(embedded)})
    for dimensions in range(1, 12):
        one = embedding(dimensions, text("a", dimensions=dimensions))
        done = await caller.serve(merged(one))
        assert done.of(request_id(dimensions)).outcome == "completed"
    assert len(caller.sharing._lanes) <= 4  # nothing else shows it


class _Timed:
    """A provider whose calls take 20 ms and 0.5 ms an input, one at a time or side by side."""

    def __init__(self, *, at_once: int) -> None:
        self.calls = 0
        self._slots = asyncio.Semaphore(at_once)

    @asynccontextmanager
    async def call(
        self, path: str, *, body: bytes, headers: Mapping[str, str]
    ) -> AsyncIterator[ScriptedAnswer]:
        """See ``ModelProvider``."""
        asked = Asked(path=path, body=json.loads(body), headers=headers, at_s=0.0)
        self.calls += 1
        async with self._slots:
            await asyncio.sleep(0.020 + 0.0005 * len(listed(asked)))
        yield ScriptedAnswer(embedded(asked))


async def _time_of_clients(provider: _Timed, clients: int, *, each: int = 12) -> float:
    """How long clients take to ask so often, one after another, each batch with one request."""
    caller = Caller({"first": provider}, slots=1_000)
    loop = asyncio.get_running_loop()

    async def ask(client: int) -> None:
        for turn in range(each):
            number = client * each + turn
            await caller.serve(merged(embedding(number, text(f"text {number}"))))

    began_s = loop.time()
    await asyncio.gather(*(ask(client) for client in range(clients)))
    return loop.time() - began_s


@pytest.mark.parametrize(("clients", "times"), [(1, 0.95), (10, 4), (64, 12)])
async def test_a_provider_that_works_calls_off_in_turn_serves_many_times_as_much(
    clients: int, times: float
) -> None:
    """Although no two requests come in one batch."""
    took_s = await _time_of_clients(_Timed(at_once=1), clients)
    assert clients * 12 * 0.0205 / took_s > times


@pytest.mark.parametrize("clients", [1, 10, 64])
async def test_a_provider_that_works_calls_side_by_side_is_hardly_slower(clients: int) -> None:
    """Who asks at the same moment shares a call, and waits for its inputs but for no other call."""
    took_s = await _time_of_clients(_Timed(at_once=1_000), clients, each=16)
    assert took_s / 16 < (0.020 + 0.0005 * clients) * 1.1
