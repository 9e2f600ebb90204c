"""Records that were handed out before they are due.

Their partition is paused until the first of them is due: nobody sleeps in the poll loop, so the
membership goes on, and other partitions are not held up.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from services.shared.codec.headers import DUE, time_from
from services.shared.stream.client import Raw, TopicPartition

MAX_KEPT_RECORDS = 32
"""Records that one poll may bring of a topic whose records wait: they are kept in memory."""


class NotDue:
    """What waits, by partition and in order."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._waiting: dict[TopicPartition, deque[Raw]] = {}

    @property
    def partitions(self) -> frozenset[TopicPartition]:
        """Partitions with a record that waits."""
        return frozenset(self._waiting)

    def add(self, polled: Mapping[TopicPartition, Sequence[Raw]]) -> None:
        """Keep what a poll brought."""
        for partition, raws in polled.items():
            self._waiting.setdefault(partition, deque()).extend(raws)

    def take(self, *, now_ms: float) -> Iterable[Raw]:
        """Those whose time has come; one that is not due holds back those behind it."""
        due: list[Raw] = []
        for partition, raws in list(self._waiting.items()):
            while raws and _due_ms(raws[0]) <= now_ms:
                due.append(raws.popleft())
            if not raws:
                del self._waiting[partition]
        return due

    def wait_s(self, *, now_ms: float, most_s: float) -> float:
        """Time until the next one is due, at most ``most_s``; in seconds."""
        waits_s = [(_due_ms(raws[0]) - now_ms) / 1000 for raws in self._waiting.values()]
        return max(0.0, min((most_s, *waits_s)))

    def clear(self) -> None:
        """Forget everything: the partitions go on from what is committed."""
        self._waiting.clear()


def _due_ms(raw: Raw) -> int:
    return next((time_from(value) for name, value in raw.headers if name == DUE), 0)
