"""A provider fails altogether for a minute: what it is spared, and how soon it is used again."""

import asyncio

import pytest

from services.model_caller.breaker import MAX_PAUSE_MS
from services.shared.domain.events import Target
from tests.support.example_events import batch
from tests.support.fake_clock import clock_of_loop
from tests.support.scripted_provider import (
    FOREVER,
    Asked,
    Script,
    ScriptedProvider,
    answered,
    refused,
)
from tests.unit.model_caller.callers import Caller, Served, member

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]
OUTAGE_S = 60.0
AFTER_S = 70.0
RATE = 10
FAULTS = {
    "failing": refused(500),
    "overloaded": refused(503),
    "throttling": refused(429),
    "throttling_politely": refused(429, retry_after="1"),
    "silent": Script(before=[FOREVER]),
}


class Outage:
    """A provider that fails for the first minute.

    Attributes:
        provider: The provider.
    """

    def __init__(self, fault: Script) -> None:
        """Fail so."""
        self._fault = fault
        self.provider = ScriptedProvider(self._play)

    def _play(self, asked: Asked) -> Script:
        return self._fault if asked.at_s < OUTAGE_S else answered(asked)

    def calls(self, from_s: float, to_s: float) -> int:
        """Calls that it got in a time."""
        return sum(from_s <= asked.at_s < to_s for asked in self.provider.asked)


async def lived_through(caller: Caller, *, seconds: float, models: int = 1) -> list[Served]:
    """What became of requests that come at a steady rate, whatever happens to them."""
    tasks = []
    for number in range(int(seconds * RATE)):
        target = Target(provider="first", model=f"model-{number % models}")
        event = batch(member(number, targets=(target,), deadline_at=0), batch_id=f"b{number}")
        tasks.append(asyncio.create_task(caller.serve(event)))
        await asyncio.sleep(1 / RATE)
    return await asyncio.gather(*tasks)


@pytest.mark.parametrize("models", [1, 40])
@pytest.mark.parametrize("fault", FAULTS)
async def test_an_outage_brings_no_storm(fault: str, models: int) -> None:
    """In no ten seconds more than 1.1 calls for each request, the small allowance aside.

    With one model its circuit opens; with many that each get few requests the budget holds.
    """
    outage = Outage(FAULTS[fault])
    caller = Caller({"first": outage.provider}, jitter=lambda: 0.5)
    await lived_through(caller, seconds=OUTAGE_S, models=models)
    allowance = 10
    assert outage.calls(0, OUTAGE_S) <= 1.1 * RATE * OUTAGE_S + allowance
    for from_s in range(10, int(OUTAGE_S), 10):
        assert (
            outage.calls(from_s, from_s + 10) <= 1.1 * RATE * 10 + 2
        )  # those of the window before


@pytest.mark.parametrize("fault", ["failing", "overloaded", "silent"])
async def test_a_broken_provider_is_left_alone_and_found_again(fault: str) -> None:
    """Few calls after the first failures; all requests are served soon after it is back."""
    outage = Outage(FAULTS[fault])
    caller = Caller({"first": outage.provider}, jitter=lambda: 0.5)
    results = await lived_through(caller, seconds=OUTAGE_S + AFTER_S)
    assert outage.calls(20, OUTAGE_S) <= 40
    codes = [result.code for result in results]
    assert codes[-RATE:] == [""] * RATE
    back_s = next(i for i, code in enumerate(codes) if not code) / RATE
    assert back_s - OUTAGE_S <= MAX_PAUSE_MS * 1.25 / 1000
    assert clock_of_loop().monotonic_s() < OUTAGE_S + AFTER_S + 60


async def test_failures_at_once_share_one_budget() -> None:
    """A hundred calls that fail in the same moment do not all find the same ten left."""
    outage = Outage(refused(500))
    caller = Caller({"first": outage.provider}, jitter=lambda: 0.5)
    events = [
        batch(member(i, targets=(Target(provider="first", model=f"m{i}"),)), batch_id=f"b{i}")
        for i in range(100)
    ]
    await asyncio.gather(*(caller.serve(event) for event in events))
    assert len(outage.provider.asked) <= 1.1 * 100 + 10
