"""Notices when Faust stops delivering without a word."""

from collections.abc import Mapping

from faust.types import TP


class Stalls:
    """Since when partitions that have records stand still: Faust was seen to stop silently."""

    def __init__(self) -> None:
        """Start with no partition."""
        self._since_s: dict[TP, tuple[int, float]] = {}

    def longest_s(
        self, positions: Mapping[TP, int], lag: Mapping[tuple[str, str], float], *, now_s: float
    ) -> float:
        """Look at the partitions; returns for how long the worst of them stands still, seconds.

        Args:
            positions: Where each goes on.
            lag: Records that wait, by topic and partition.
            now_s: Monotonic clock.
        """
        self._since_s = {
            tp: self._since_s[tp]
            if self._since_s.get(tp, (-1, 0.0))[0] == position
            and lag.get((tp.topic, str(tp.partition)))
            else (position, now_s)
            for tp, position in positions.items()
        }
        return max((now_s - since_s for _, since_s in self._since_s.values()), default=0.0)
