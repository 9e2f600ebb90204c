"""Time that only moves when nothing is left to do.

``TimeTravelLoop`` is an asyncio event loop whose time is a ``FakeClock``: when every task waits,
it jumps to the next timer instead of sleeping. So ``asyncio.sleep``, ``asyncio.timeout`` and every
``loop.call_later`` of the code under test run on fake time, in order, and an hour costs nothing.

    clock = FakeClock()
    asyncio.run(scenario(clock), loop_factory=lambda: TimeTravelLoop(clock))   # or run_on_fake_time

With pytest-asyncio, a ``pytest_asyncio_loop_factories`` hook in a ``conftest.py`` gives the loop to
the tests of its folder; ``clock_of_loop`` then finds the clock.

Nothing that waits for the outside (sockets, threads, processes) may run on it: time would not wait
for it. Waiting for something that never comes raises ``NothingWillHappen`` instead of hanging.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

T = TypeVar("T")

START_MS = 1_780_000_000_000.0
_RESOLUTION_S = 1e-6


class NothingWillHappen(Exception):
    """Every task waits, and no timer is set: on a real clock this would hang forever."""


class FakeClock:
    """A clock that stands still until it is moved."""

    def __init__(self, *, now_ms: float = START_MS) -> None:
        """Start at a moment, unix ms."""
        self._start_ms = now_ms
        self._elapsed_s = 0.0

    def now_ms(self) -> float:
        """Wall clock, unix ms."""
        return self._start_ms + self._elapsed_s * 1000

    def monotonic_s(self) -> float:
        """Seconds since the clock was made."""
        return self._elapsed_s

    def advance(self, seconds: float) -> None:
        """Move on. On a running loop this is a process that stood still: timers are late."""
        self._elapsed_s += seconds


class TimeTravelLoop(asyncio.SelectorEventLoop):
    """An event loop that jumps to its next timer when it is idle."""

    def __init__(self, clock: FakeClock | None = None) -> None:
        """Run on a clock, or on one of its own."""
        self.clock = FakeClock() if clock is None else clock
        super().__init__(_JumpingSelector(self.clock))
        self._clock_resolution = _RESOLUTION_S

    def time(self) -> float:
        """The clock's monotonic time, seconds."""
        return self.clock.monotonic_s()


def clock_of_loop() -> FakeClock:
    """The clock of the running loop, which is a ``TimeTravelLoop``."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, TimeTravelLoop), "this needs a loop on fake time"
    return loop.clock


def run_on_fake_time(scenario: Callable[[FakeClock], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine function ``(clock) -> T`` to its end on a loop of its own."""
    clock = FakeClock()
    with asyncio.Runner(loop_factory=lambda: TimeTravelLoop(clock)) as runner:
        return runner.run(scenario(clock))


class _JumpingSelector(selectors.BaseSelector):
    """A selector that never waits: it moves the clock by what it was told to wait."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._real = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0)
        if ready:
            return ready
        if timeout is None:
            raise NothingWillHappen(
                "all tasks wait for each other: "
                + "; ".join(sorted(repr(task.get_coro()) for task in asyncio.all_tasks()))
            )
        if timeout > 0:
            self._clock.advance(timeout)
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()
