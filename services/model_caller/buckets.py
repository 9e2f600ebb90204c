"""How fast calls may be made: token buckets, by requests and tokens a minute.

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


class Buckets:
    """The two rates of a provider."""

    def __init__(self, *, requests_per_minute: int, tokens_per_minute: int) -> None:
        """Start full; 0 = no limit."""
        self._requests = Bucket(requests_per_minute)
        self._tokens = Bucket(tokens_per_minute)

    def reserve(self, tokens: int, *, now_ms: float, patience_ms: float) -> float | None:
        """Take a call with these tokens if it may start soon enough.

        Returns:
            The time to wait, ms; None, with nothing taken, when it is more than ``patience_ms``.
        """
        wait_ms = self.wait_ms(tokens, now_ms=now_ms)
        if wait_ms > patience_ms:
            return None
        self._requests.take(1)
        self._tokens.take(tokens)
        return wait_ms

    def wait_ms(self, tokens: int, *, now_ms: float) -> float:
        """Time until a call with these tokens may start, ms."""
        return max(
            self._requests.wait_ms(1, now_ms=now_ms), self._tokens.wait_ms(tokens, now_ms=now_ms)
        )

    def cancel(self, tokens: int) -> None:
        """A reserved call was not made."""
        self._requests.take(-1)
        self._tokens.take(-tokens)

    def settle(self, *, reserved: int, used: int) -> None:
        """A call used other tokens than were reserved for it."""
        self._tokens.take(used - reserved)
