"""Cancellations meet their requests, whichever comes first; and stop what they must."""

import asyncio

import pytest

from services.model_caller.cancels import Cancels
from services.model_caller.stopping import Stop, Stopped
from services.shared.domain.events import ControlRequested
from tests.support.example_events import request_id, requested
from tests.support.fake_clock import FakeClock


def wish(number: int = 1, *, action: str = "cancel", tenant: str = "acme") -> ControlRequested:
    """What a gateway writes."""
    return ControlRequested(action=action, request_id=request_id(number), tenant=tenant, at=0)


def unasked() -> None:
    """What must not be called."""
    raise AssertionError


def test_a_running_request_is_told() -> None:
    """Once it is served no more, nobody is told."""
    cancels, told = Cancels(FakeClock()), []
    cancels.serve(requested(1), lambda: told.append(1), unasked)
    cancels.hear(wish(2))
    cancels.hear(wish(1, action="revoke"))
    cancels.hear(wish(1, tenant="other"))
    assert not told
    cancels.hear(wish(1))
    assert told == [1]
    cancels.served(requested(1))
    cancels.served(requested(1))
    cancels.hear(wish(1))
    assert told == [1]


def test_a_request_that_comes_later_is_told_at_once() -> None:
    """For an hour."""
    clock = FakeClock()
    cancels, told = Cancels(clock), []
    cancels.hear(wish(1))
    assert cancels.is_wanted(requested(1))
    assert not cancels.is_wanted(requested(1, tenant="other"))
    cancels.serve(requested(1), lambda: told.append(1), unasked)
    assert told == [1]
    clock.advance(3_601)
    cancels.hear(wish(2))
    assert not cancels.is_wanted(requested(1))
    assert cancels.is_wanted(requested(2))


def test_who_has_joiners_is_told_to_leave_and_not_to_stop() -> None:
    """Until the last of them is gone: then the call is of no use to anybody."""
    cancels, told = Cancels(FakeClock()), []
    cancels.serve(requested(1), lambda: told.append("stop"), lambda: told.append("leave"))
    cancels.hear(wish(1, action="hold"))
    assert not told
    cancels.hear(wish(1))
    assert told == ["leave"]
    assert (cancels.is_wanted(requested(1)), cancels.is_left(requested(1))) == (False, True)
    cancels.hear(wish(1, action="release"))
    assert told == ["leave", "stop"]
    assert (cancels.is_wanted(requested(1)), cancels.is_left(requested(1))) == (True, False)


async def test_a_stop_ends_what_is_awaited_and_not_its_task() -> None:
    """The task goes on, uncancelled; whatever it awaits through the stop next ends at once."""
    stop = Stop()

    async def run() -> str:
        with pytest.raises(Stopped):
            await stop.or_stop(lambda: asyncio.sleep(60))
        with pytest.raises(Stopped):
            await stop.or_stop(lambda: asyncio.sleep(60))
        await asyncio.sleep(0.1)
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()
        return "on"

    task = asyncio.ensure_future(run())
    await asyncio.sleep(1)
    stop.ask()
    stop.ask()
    assert await task == "on"
    assert stop.is_asked


async def test_another_cancellation_is_not_a_stop() -> None:
    """A task that is cancelled by somebody else is cancelled."""
    task = asyncio.ensure_future(Stop().or_stop(lambda: asyncio.sleep(60)))
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_stop_outside_a_wait_stops_the_next() -> None:
    """Between two waits nothing is cancelled."""
    stop = Stop()
    await stop.or_stop(lambda: asyncio.sleep(1))
    stop.ask()
    await asyncio.sleep(1)
    with pytest.raises(Stopped):
        await stop.or_stop(lambda: asyncio.sleep(60))
