"""How fast calls may be made to a provider, by requests and tokens a minute.

The time is an argument.
"""

from collections.abc import Hashable
from typing import NamedTuple

from services.model_caller.bucket import Bucket
from services.model_caller.turns import Turn, Turns


class Reserved(NamedTuple):
    """What was taken of both rates.

    Attributes:
        wait_ms: Time until the call may start, ms.
        turn: Its place among the requests.
        tokens: Its tokens.
    """

    wait_ms: float
    turn: Turn
    tokens: int


class Buckets:
    """The two rates of a provider."""

    def __init__(self, *, requests_per_minute: int, tokens_per_minute: int) -> None:
        """Start full; 0 = no limit."""
        self._turns = Turns(Bucket(requests_per_minute))
        self._tokens = Bucket(tokens_per_minute)

    def reserve(
        self, tokens: int, *, now_ms: float, patience_ms: float, company: Hashable = None
    ) -> Reserved | None:
        """Take a call with these tokens if it may start soon enough.

        Args:
            tokens: Its tokens.
            now_ms: Now.
            patience_ms: How long it may wait.
            company: Who may share a call, the same for all of them; None = it is made alone.

        Returns:
            What was taken; None, with nothing taken, when it would wait longer.
        """
        wait_ms = self.wait_ms(tokens, now_ms=now_ms, company=company)
        if wait_ms > patience_ms:
            return None
        self._tokens.take(tokens)
        return Reserved(wait_ms, self._turns.take(company, now_ms=now_ms), tokens)

    def wait_ms(self, tokens: int, *, now_ms: float, company: Hashable = None) -> float:
        """Time until a call with these tokens may start, ms."""
        return max(
            self._turns.wait_ms(company, now_ms=now_ms), self._tokens.wait_ms(tokens, now_ms=now_ms)
        )

    def cancel(self, reserved: Reserved) -> None:
        """A reserved call was not made."""
        reserved.turn.leave()
        self._tokens.take(-reserved.tokens)

    def settle(self, *, reserved: int, used: int) -> None:
        """A call used other tokens than were reserved for it."""
        self._tokens.take(used - reserved)
