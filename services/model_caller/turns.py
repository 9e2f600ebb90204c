"""Places in a provider's rate of requests, each for one upstream call.

Requests that may be made as one call take one place together: the first of them takes it, and who
comes before its call is made rides along. So a call counts once, whoever shares it. The time is an
argument.
"""

from collections.abc import Hashable

from services.model_caller.bucket import Bucket


class Turn:
    """A place. It belongs to all who ride on it until a call is made, or all have left.

    Attributes:
        ready_at_ms: When its call may be made.
        is_spent: Whether it was.
    """

    __slots__ = ("_company", "_riders", "_turns", "is_spent", "ready_at_ms")

    def __init__(self, turns: "Turns", company: Hashable, *, ready_at_ms: float) -> None:
        """Begin with one rider."""
        self._turns = turns
        self._company = company
        self._riders = 1
        self.ready_at_ms = ready_at_ms
        self.is_spent = False

    def join(self) -> "Turn":
        """One more rides along."""
        self._riders += 1
        return self

    def make(self) -> None:
        """A call is made now; when this place is spent already, it is one more request."""
        if self.is_spent:
            self._turns.requests.take(1)
        self._end()

    def leave(self) -> None:
        """One rides no longer; a place for which nobody is left is given back."""
        self._riders -= 1
        if not self._riders and not self.is_spent:
            self._turns.requests.take(-1)
            self._end()

    def _end(self) -> None:
        self.is_spent = True
        if self._turns.open.get(self._company) is self:
            del self._turns.open[self._company]


class Turns:
    """All places of a provider.

    Attributes:
        requests: Its rate of requests.
        open: Places whose calls are still to be made and may be shared, by who may share them.
    """

    def __init__(self, requests: Bucket) -> None:
        """Start with none."""
        self.requests = requests
        self.open: dict[Hashable, Turn] = {}

    def wait_ms(self, company: Hashable, *, now_ms: float) -> float:
        """Time until a call may be made, ms; it is not said that it will.

        Args:
            company: Who may share a call, the same for all of them; None = it is made alone.
            now_ms: Now.
        """
        turn = self.open.get(company)
        if turn is not None:
            return max(0.0, turn.ready_at_ms - now_ms)
        return self.requests.wait_ms(1, now_ms=now_ms)

    def take(self, company: Hashable, *, now_ms: float) -> Turn:
        """Take a place, or ride along with the company's."""
        turn = self.open.get(company)
        if turn is not None:
            return turn.join()
        ready_at_ms = now_ms + self.requests.wait_ms(1, now_ms=now_ms)
        self.requests.take(1)
        turn = Turn(self, company, ready_at_ms=ready_at_ms)
        if company is not None:
            self.open[company] = turn
        return turn
