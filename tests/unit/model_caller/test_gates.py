"""Who may call when: slots, rates, circuits and endpoints together, on fake time."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from services.model_caller import gates as gates_module
from services.model_caller.breaker import CONSECUTIVE, PAUSE_MS
from services.model_caller.calls import Reply, Service
from services.model_caller.decide import failure, failure_from_status
from services.model_caller.gate_metrics import GateMetrics
from services.model_caller.gates import Gates, Pass
from services.model_caller.wishes import Shut, Wish
from services.shared.domain.configuration import Timeouts
from services.shared.domain.events import CircuitState, ProviderHealth, Target
from services.shared.domain.money import Usage
from services.shared.domain.terminal import Answer
from tests.support.fake_clock import clock_of_loop
from tests.support.scripted_provider import ScriptedProvider, answered

A = Target(provider="first", model="a")
B = Target(provider="first", model="b")
OTHER = Target(provider="second", model="a")
GOOD = Reply(result=[Answer(response=b"{}", usage=Usage(input_tokens=10, output_tokens=20))])
BAD = Reply(result=failure("provider_timeout", ""), status=200)


def made(registry: CollectorRegistry | None = None, **limits: Any) -> Gates:
    """Gates of two providers, of which the first has these limits."""
    extra = limits.pop("others", ())
    first = Service(ScriptedProvider(answered), Timeouts(), others=extra, **limits)
    second = Service(ScriptedProvider(answered), Timeouts())
    return Gates(
        {"first": first, "second": second},
        owner="me",
        clock=clock_of_loop(),
        jitter=lambda: 0.0,
        metrics=GateMetrics(registry or CollectorRegistry()),
    )


def wish(lane: int = 0, tokens: int = 10, **changes: Any) -> Wish:
    """A call that may wait a second."""
    return Wish(lane=lane, tokens=tokens, **changes)


async def entered(gates: Gates, target: Target = A, **changes: Any) -> Pass:
    """A call that is let in."""
    entry = await gates.enter(target, wish(**changes))
    assert isinstance(entry, Pass)
    return entry


async def shut(gates: Gates, target: Target = A, **changes: Any) -> Shut:
    """A call that is not."""
    entry = await gates.enter(target, wish(**changes))
    assert isinstance(entry, Shut)
    return entry


async def called(gates: Gates, *replies: Reply, target: Target = A) -> None:
    """Calls one after the other, that end so."""
    for reply in replies:
        with await entered(gates, target) as call:
            call.learn(reply)


def rate_limited(pause_ms: int = 0) -> Reply:
    """A refusal for the rate."""
    result = failure_from_status(429, message="", code="", param="", pause_ms=pause_ms)
    return Reply(result=result, status=429, pause_ms=pause_ms)


# -- circuits --------------------------------------------------------------------------------------


async def test_an_open_circuit_is_skipped_without_a_call() -> None:
    """The next target is entered; another model of the same provider is not concerned."""
    registry = CollectorRegistry()
    gates = made(registry)
    await called(gates, *[BAD] * CONSECUTIVE)
    targets = [A, OTHER]
    with await gates.enter_first(targets, wish()) as entry:  # type: ignore[union-attr]
        assert isinstance(entry, Pass)
    assert targets == [OTHER]
    await called(gates, GOOD, target=B)
    labels = {"provider": "first", "model": "a"}
    assert registry.get_sample_value("millrace_provider_circuit", labels) == 2
    skips = {**labels, "on": "circuit"}
    assert registry.get_sample_value("millrace_model_call_skips_total", skips) == 1


async def test_when_nothing_is_open_the_soonest_is_told() -> None:
    """The caller learns when it may work."""
    gates = made(requests_per_minute=1)
    await called(gates, *[BAD] * CONSECUTIVE, target=OTHER)
    with await entered(gates):
        pass
    targets = [A, OTHER]
    entry = await gates.enter_first(targets, wish())
    assert entry == Shut("circuit", PAUSE_MS)
    assert targets == []


async def test_changes_are_published_and_adopted() -> None:
    """What one process publishes opens and closes the circuits of another."""
    mine, theirs = made(), made()
    told: list[ProviderHealth] = []
    mine.publish = told.append
    await called(mine, *[BAD] * CONSECUTIVE)
    (health,) = told
    theirs.adopt(health)
    mine.adopt(health)
    assert await shut(theirs) == await shut(mine) == Shut("circuit", PAUSE_MS)
    await asyncio.sleep(PAUSE_MS / 1000)
    await called(mine, GOOD)
    assert [it.state for it in told] == ["open", "half_open", "closed"]
    theirs.adopt(told[1])
    assert (await shut(theirs)).on == "circuit"  # somebody else is probing
    theirs.adopt(told[2])
    await called(theirs, GOOD)


async def test_news_of_a_provider_that_is_not_configured_is_nothing() -> None:
    """Another process may run with another file."""
    gates = made()
    gates.adopt(ProviderHealth(provider="gone", model="m", state="open", at=1, until=1 << 50))
    call = await entered(gates, Target(provider="gone", model="m"))
    assert call.service is None
    with call:
        call.learn(GOOD)


async def test_a_circuit_that_opens_while_a_call_waits_keeps_it_out() -> None:
    """Its slot goes back."""
    gates = made(max_in_flight=1)
    await called(gates, *[BAD] * (CONSECUTIVE - 1))
    call = await entered(gates)
    waiting = asyncio.create_task(gates.enter(A, wish()))
    await asyncio.sleep(0.1)
    with call:
        call.learn(BAD)
    assert await waiting == Shut("circuit", PAUSE_MS)
    await asyncio.sleep(PAUSE_MS / 1000)
    await called(gates, GOOD)


async def test_a_call_that_is_cancelled_says_nothing() -> None:
    """It holds neither a slot nor the place of a probe afterwards."""
    gates = made(max_in_flight=1)
    await called(gates, *[BAD] * CONSECUTIVE)
    await asyncio.sleep(PAUSE_MS / 1000)
    for _ in range(3):
        with pytest.raises(asyncio.CancelledError), await entered(gates):
            raise asyncio.CancelledError
    await called(gates, GOOD)


# -- rates -----------------------------------------------------------------------------------------


async def test_a_call_waits_for_the_rate_up_to_a_second() -> None:
    """What would take longer is told so at once, with the time."""
    gates = made(requests_per_minute=60)
    clock = clock_of_loop()
    await called(gates, *[GOOD] * 5)
    began_s = clock.monotonic_s()
    await called(gates, GOOD)
    assert clock.monotonic_s() - began_s == pytest.approx(1.0)
    waiting = asyncio.create_task(entered(gates))
    await asyncio.sleep(0)
    assert await shut(gates) == Shut("rate", pytest.approx(2_000))  # type: ignore[arg-type]
    with await waiting:
        pass


@pytest.mark.parametrize("limits", [{"requests_per_minute": 60}, {"tokens_per_minute": 600}])
async def test_a_call_cancelled_while_it_waits_gives_its_place_back(limits: dict[str, Any]) -> None:
    """The next one waits only as long as it would have without it."""
    gates = made(**limits)
    clock = clock_of_loop()
    for _ in range(5):
        with await entered(gates):
            pass
    waiting = asyncio.create_task(gates.enter(A, wish()))
    await asyncio.sleep(0.5)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    began_s = clock.monotonic_s()
    with await entered(gates):
        pass
    assert clock.monotonic_s() - began_s == pytest.approx(0.5)


async def test_tokens_that_were_not_used_are_given_back() -> None:
    """What counts is what the provider reports."""
    gates = made(tokens_per_minute=12_000)  # holds 1,000
    call = await entered(gates, tokens=1_000)
    assert (await shut(gates, tokens=1_000)).on == "rate"
    with call:
        call.learn(GOOD)  # 30 tokens
    with await entered(gates, tokens=970):
        pass


async def test_a_pause_that_a_failure_asks_for_is_no_rate_limit() -> None:
    """Who comes meanwhile is told that the provider fails, not that too much was asked."""
    gates = made()
    failed = msgspec.structs.replace(BAD, pause_ms=5_000)
    await called(gates, failed)
    assert await shut(gates) == Shut("circuit", 5_000)


async def test_the_pause_that_a_provider_asks_for_is_kept() -> None:
    """For that model; others may be called."""
    gates = made()
    await called(gates, rate_limited(pause_ms=5_000))
    assert await shut(gates) == Shut("rate", 5_000)
    await called(gates, GOOD, target=B)
    await asyncio.sleep(4.5)
    began_s = clock_of_loop().monotonic_s()
    await called(gates, GOOD)
    assert clock_of_loop().monotonic_s() - began_s == pytest.approx(0.5)


# -- slots -----------------------------------------------------------------------------------------


async def test_a_call_waits_for_a_slot_up_to_a_second() -> None:
    """In order; who gets none is told so."""
    gates = made(max_in_flight=1, requests_per_minute=6_000)
    first = await entered(gates)
    second = asyncio.create_task(entered(gates))
    third = asyncio.create_task(shut(gates))
    await asyncio.sleep(0.5)
    with first:
        pass
    call = await second
    assert await third == Shut("slots", gates_module.SLOT_RETRY_MS)
    with call:
        pass
    await called(gates, GOOD)


async def test_background_work_leaves_half_of_the_slots_to_users() -> None:
    """Lanes 1 and 2 together get one half; lane 0 may have all."""
    gates = made(max_in_flight=4)
    held = [await entered(gates, lane=1), await entered(gates, B, lane=2)]
    assert (await shut(gates, lane=1, patience_ms=10.0)).on == "slots"
    held += [await entered(gates, lane=0), await entered(gates, lane=0)]
    assert (await shut(gates, lane=0, patience_ms=10.0)).on == "slots"
    for call in held:
        with call:
            pass
    held = [await entered(gates, lane=0) for _ in range(4)]
    assert len(held) == 4


async def test_users_are_let_in_first() -> None:
    """Whoever waited longer."""
    gates = made(max_in_flight=2)
    held = [await entered(gates), await entered(gates)]
    order: list[int] = []

    async def one(lane: int) -> None:
        with await entered(gates, lane=lane):
            order.append(lane)

    waiting = [asyncio.create_task(one(lane)) for lane in (2, 1, 0)]
    await asyncio.sleep(0.1)
    with held[0]:
        pass
    await asyncio.gather(*waiting)
    assert order[0] == 0


async def test_overload_lowers_the_limit_of_that_model() -> None:
    """And good answers raise it again."""
    registry = CollectorRegistry()
    gates = made(registry, max_in_flight=8)
    labels = {"provider": "first", "model": "a"}
    held = [await entered(gates) for _ in range(8)]
    with held.pop() as call:
        call.learn(rate_limited())
    assert registry.get_sample_value("millrace_provider_concurrency_limit", labels) == 6
    assert (await shut(gates, patience_ms=10.0)).on == "slots"
    with held.pop():
        pass
    with held.pop():
        pass
    held.append(await entered(gates))
    for call in held:
        with call:
            call.learn(GOOD)
    await called(gates, GOOD, target=B)


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_waiter_that_is_cancelled_takes_no_slot(moment: str) -> None:
    """Neither while it waits nor when its turn has just come."""
    gates = made(max_in_flight=1)
    first = await entered(gates)
    waiting = asyncio.create_task(gates.enter(A, wish()))
    await asyncio.sleep(0.1)
    if moment == "before":
        waiting.cancel()
    with first:
        pass
    if moment == "after":
        waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await called(gates, GOOD)


# -- endpoints and memory --------------------------------------------------------------------------


async def test_calls_go_to_the_endpoint_with_the_least_to_do() -> None:
    """By tokens under way."""
    others = (ScriptedProvider(answered), ScriptedProvider(answered))
    gates = made(others=others)
    big, small = await entered(gates, tokens=900), await entered(gates, tokens=10)
    third, fourth = await entered(gates, tokens=50), await entered(gates, tokens=10)
    providers = [call.service.provider for call in (big, small, third, fourth) if call.service]
    assert providers[1:] == [others[0], others[1], others[0]]
    assert providers[0] not in others


async def test_an_endpoint_that_cannot_be_reached_does_not_open_the_circuit() -> None:
    """As long as another one can."""
    other = ScriptedProvider(answered)
    gates = made(others=(other,))
    unreachable = Reply(result=failure("provider_unreachable", ""))
    await called(gates, unreachable)
    for _ in range(CONSECUTIVE):
        with await entered(gates) as call:
            assert call.service is not None
            assert call.service.provider is other
            call.learn(GOOD)
    await called(gates, *[unreachable] * CONSECUTIVE)
    assert (await shut(gates)).on == "circuit"


async def test_models_in_order_are_forgotten_when_there_are_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Callers may name any model that matches a pattern; open circuits are remembered."""
    monkeypatch.setattr(gates_module, "_MAX_MODELS", 3)
    gates = made()
    await called(gates, *[BAD] * CONSECUTIVE)
    names: Sequence[str] = [f"model-{i}" for i in range(20)]
    for name in names:
        await called(gates, GOOD, target=Target(provider="first", model=name))
    assert len(gates._models) <= 3
    assert gates._models["first", "a"].breaker.state is CircuitState.OPEN
