"""How many calls at once a provider's model bears, found out by trying.

Additive increase, multiplicative decrease: the rule that converges to a fair and efficient share
(D. Chiu, R. Jain, "Analysis of the Increase and Decrease Algorithms for Congestion Avoidance in
Computer Networks", 1989), in the form of Netflix's ``AIMDLimit``: grow only while the limit is in
use, and shrink at most once for the calls that were under way together. Pure.
"""

import msgspec

SHRINK = 0.75
ROUNDS = 64
"""Full rounds of good calls that lead from one call back to the most."""


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """A limit of calls at once.

    Attributes:
        most: Never more than this.
        size: The limit as a fraction; ``calls`` is what holds.
        shrunk_at_ms: When it last shrank, unix ms.
    """

    most: int
    size: float
    shrunk_at_ms: float = -1.0

    @property
    def calls(self) -> int:
        """Calls at once, 1 to ``most``."""
        return max(1, int(self.size))

    def after_answer(self, *, in_flight: int) -> "Limit":
        """A call was answered while ``in_flight`` were under way, itself included."""
        if self.size >= self.most or in_flight * 2 < self.size:
            return self
        step = max(1.0, self.most / ROUNDS) / self.size
        return msgspec.structs.replace(self, size=min(float(self.most), self.size + step))

    def after_overload(self, *, in_flight: int, started_ms: float, now_ms: float) -> "Limit":
        """A call was refused for the load, or not answered in time.

        Args:
            in_flight: Calls under way, itself included.
            started_ms: When it was made, unix ms; one that is older than the last decrease belongs
                to the same congestion.
            now_ms: Unix ms.
        """
        if started_ms <= self.shrunk_at_ms:
            return self
        size = max(1.0, min(self.size, float(in_flight)) * SHRINK)
        return msgspec.structs.replace(self, size=size, shrunk_at_ms=now_ms)


def limit_of(most: int) -> Limit:
    """Start at the most: only a provider's own word lowers it."""
    return Limit(most=most, size=float(most))
