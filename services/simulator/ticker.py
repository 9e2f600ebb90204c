"""Waiting for many moments at once: one timer of the loop for each millisecond in use.

A stream waits for each of its tokens. The moments of all streams are rounded up to whole
milliseconds, and those that fall together share a timer.
"""

import asyncio
from math import ceil


class Ticker:
    """Wakes waiters at moments of the loop's clock."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiters: dict[int, list[asyncio.Future[bool]]] = {}

    def now_ms(self) -> float:
        """The loop's clock in ms."""
        return self._loop.time() * 1_000

    def at(self, when_ms: float) -> asyncio.Future[bool]:
        """A future that becomes True at ``when_ms``, unless somebody else has set it before."""
        tick = ceil(when_ms)
        waiters = self._waiters.get(tick)
        if waiters is None:
            waiters = self._waiters[tick] = []
            self._loop.call_at(tick / 1_000, self._wake, tick)
        waiter = self._loop.create_future()
        waiters.append(waiter)
        return waiter

    def _wake(self, tick: int) -> None:
        for waiter in self._waiters.pop(tick):
            if not waiter.done():
                waiter.set_result(True)
