"""Slots of one provider: who may call now, and who is next.

Calls of one model are bounded by what that model bears, all of them by the provider's
``max_in_flight``. Background work (lanes 1 and 2) together gets half of the slots at most, so users
find the other half free.
"""

import asyncio
import contextlib
from collections import deque

from services.model_caller.limit import Limit, limit_of

LANES = 3


class Line:
    """Those who call one model of a provider, or wait to.

    Attributes:
        limit: How many of them may call at once.
        in_flight: How many do.
        waiting: The others, by lane.
    """

    __slots__ = ("in_flight", "limit", "waiting")

    def __init__(self, most: int) -> None:
        """Start with nobody."""
        self.limit: Limit = limit_of(most)
        self.in_flight = 0
        self.waiting: tuple[deque[asyncio.Future[None]], ...] = tuple(deque() for _ in range(LANES))

    @property
    def is_idle(self) -> bool:
        """Whether nobody calls or waits."""
        return not self.in_flight and not any(self.waiting)


class Turnstile:
    """The slots."""

    def __init__(self, most: int) -> None:
        """Start with all free."""
        self._most = most
        self._most_background = max(1, most // 2)
        self._in_use = 0
        self._background = 0
        self._lines: dict[Line, None] = {}  # those with somebody waiting, in order

    def take(self, line: Line, lane: int) -> bool:
        """Take a slot if one is free and nobody of the same lane waits for it."""
        if line.waiting[lane] or not self._has_room(line, lane):
            return False
        self._hold(line, lane)
        return True

    async def wait(self, line: Line, lane: int, *, timeout_s: float) -> bool:
        """Wait for a slot; whether one was got in time."""
        turn = asyncio.get_running_loop().create_future()
        line.waiting[lane].append(turn)
        self._lines[line] = None
        try:
            async with asyncio.timeout(timeout_s):
                await turn
        except TimeoutError:
            return self._got(turn, line, lane)
        except asyncio.CancelledError:
            if self._got(turn, line, lane):
                self.free(line, lane)
            raise
        return True

    def free(self, line: Line, lane: int) -> None:
        """Give a slot back."""
        line.in_flight -= 1
        self._in_use -= 1
        self._background -= lane > 0
        if self._lines:
            self.wake()

    def wake(self) -> None:
        """Let in whoever has room now, users first."""
        for lane in range(LANES):
            for line in list(self._lines):
                while line.waiting[lane] and self._has_room(line, lane):
                    turn = line.waiting[lane].popleft()
                    if not turn.done():  # else it has just given up
                        self._hold(line, lane)
                        turn.set_result(None)
                if not any(line.waiting):
                    self._lines.pop(line, None)

    def _got(self, turn: "asyncio.Future[None]", line: Line, lane: int) -> bool:
        """Whether a turn came although its waiter was just giving up; it waits no longer."""
        if turn.done() and not turn.cancelled():
            return True
        with contextlib.suppress(ValueError):  # passed over already
            line.waiting[lane].remove(turn)
        if not any(line.waiting):
            self._lines.pop(line, None)
        return False

    def _has_room(self, line: Line, lane: int) -> bool:
        if lane and self._background >= self._most_background:
            return False
        return self._in_use < self._most and line.in_flight < line.limit.calls

    def _hold(self, line: Line, lane: int) -> None:
        line.in_flight += 1
        self._in_use += 1
        self._background += lane > 0
