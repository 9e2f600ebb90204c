"""The machine's clocks."""

import time

_NS_PER_MS = 1_000_000


class SystemClock:
    """Wall clock and monotonic clock of the machine."""

    def now_ms(self) -> float:
        """Wall clock, unix ms."""
        return time.time_ns() / _NS_PER_MS

    def monotonic_s(self) -> float:
        """Monotonic clock, seconds; stands still for no process."""
        return time.monotonic()
