"""How fast calls may be made: a token bucket.

A reservation may take a bucket below zero; whoever made it waits until it is level again, so calls
keep their order without a queue. The time is an argument.
"""

BURST_S = 5.0
"""A bucket holds what flows in in this time: a short burst, no whole minute at once."""

_MINUTE_MS = 60_000


class Bucket:
    """One rate."""

    def __init__(self, per_minute: int) -> None:
        """Start full; 0 = no limit."""
        self._per_ms = per_minute / _MINUTE_MS
        self._most = max(1.0, self._per_ms * BURST_S * 1000)
        self._level = self._most
        self._at_ms = 0.0

    def wait_ms(self, amount: float, *, now_ms: float) -> float:
        """Time until so much may be taken; more than the bucket holds needs a full one."""
        if not self._per_ms:
            return 0.0
        self._fill(now_ms)
        return max(0.0, (min(amount, self._most) - self._level) / self._per_ms)

    def take(self, amount: float) -> None:
        """Take so much; negative amounts give back."""
        if self._per_ms:
            self._level = min(self._most, self._level - amount)

    def _fill(self, now_ms: float) -> None:
        passed_ms = max(0.0, now_ms - self._at_ms)
        self._level = min(self._most, self._level + passed_ms * self._per_ms)
        self._at_ms = max(self._at_ms, now_ms)
