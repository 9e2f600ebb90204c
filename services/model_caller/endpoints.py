"""Which of a provider's endpoints gets the next call: the one with the least to do.

Tokens under way say more about load than calls do: one long prompt weighs as much as many short
ones. The time is an argument.
"""

LEAVE_MS = 10_000
"""How long an endpoint that could not be reached is left."""


class Endpoints:
    """The load of each endpoint of a provider."""

    def __init__(self, count: int) -> None:
        """Start idle."""
        self._tokens = [0] * count
        self._calls = [0] * count
        self._left_until_ms = [0.0] * count

    def begin(self, tokens: int, *, now_ms: float) -> int:
        """Choose for a call with these tokens, input and wanted output; returns the position.

        Fewest tokens under way, then fewest calls so far. When all are left, they are all tried.
        """
        count = len(self._tokens)
        if count == 1:
            return 0
        reachable = [i for i in range(count) if self._left_until_ms[i] <= now_ms] or range(count)
        chosen = min(reachable, key=lambda i: (self._tokens[i], self._calls[i], i))
        self._tokens[chosen] += tokens
        self._calls[chosen] += 1
        return chosen

    def end(self, position: int, tokens: int) -> None:
        """A call has ended."""
        if len(self._tokens) > 1:
            self._tokens[position] -= tokens

    def leave(self, position: int, *, now_ms: float) -> None:
        """An endpoint could not be reached."""
        self._left_until_ms[position] = now_ms + LEAVE_MS

    def others_work(self, position: int, *, now_ms: float) -> bool:
        """Whether another endpoint can be reached, as far as is known."""
        return any(
            until_ms <= now_ms for i, until_ms in enumerate(self._left_until_ms) if i != position
        )
