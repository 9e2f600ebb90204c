"""Waiting for moments."""

import asyncio

from services.simulator.ticker import Ticker


async def test_waiters_of_one_millisecond_share_a_timer_and_wake_in_order() -> None:
    """Moments of one millisecond become true together, not before their time, in their order."""
    loop = asyncio.get_running_loop()
    timers = []
    call_at = loop.call_at

    def counted(*args: object) -> asyncio.TimerHandle:
        timers.append(args)
        return call_at(*args)  # type: ignore[arg-type]  # passed on as it is

    loop.call_at = counted  # type: ignore[method-assign,assignment]  # counts and passes on
    ticker = Ticker(loop)
    at_ms = int(ticker.now_ms()) + 5
    woken: list[str] = []
    waiters = {}
    for name, when_ms in (("later", at_ms + 2.0), ("a", at_ms - 0.5), ("b", at_ms - 0.1)):
        waiters[name] = ticker.at(when_ms)
        waiters[name].add_done_callback(lambda _future, name=name: woken.append(name))  # type: ignore[misc]  # a default argument
    assert await waiters["later"] is True
    assert woken == ["a", "b", "later"]
    assert len(timers) == 2
    assert ticker.now_ms() >= at_ms + 2


async def test_moment_that_somebody_else_decided_stays_decided() -> None:
    """A waiter that was told False keeps that; its time passes without an error."""
    ticker = Ticker(asyncio.get_running_loop())
    at_ms = ticker.now_ms() + 1
    told, waiting = ticker.at(at_ms), ticker.at(at_ms)
    told.set_result(False)
    assert await waiting is True
    assert await told is False
