"""Time, as a capability: nothing but the adapter reads a clock."""

from typing import Protocol


class Clock(Protocol):
    """Where the time comes from."""

    def now_ms(self) -> float:
        """Wall clock, unix ms, with sub-millisecond digits."""
        ...

    def monotonic_s(self) -> float:
        """A clock that only goes forward, seconds; for waits and ages."""
        ...
