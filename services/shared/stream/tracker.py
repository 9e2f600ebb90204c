"""Which offset of a partition may be committed.

Records finish out of order; what may be committed is the lowest offset still open, or, when none
is, the one after the last delivered. Delivered offsets have holes (transactions, compaction), so
the tracker follows what was delivered, not arithmetic.

A tracker outlives a rebalance that gives the partition back: records that are delivered again
while they are still in work, or were finished but not committed, are recognised and not repeated.
"""

from collections import OrderedDict


class OffsetTracker:
    """Open and finished offsets of one partition."""

    def __init__(self, position: int = 0) -> None:
        """Start where the group stands."""
        self._open: OrderedDict[int, None] = OrderedDict()
        self._next = position
        self._committed = position

    def resume_at(self, position: int) -> None:
        """Go on after a rebalance at the offset where the group stands now.

        What lies before it is done, by whomever: open records there no longer hold commits back.
        """
        for offset in [offset for offset in self._open if offset < position]:
            del self._open[offset]
        self._next = max(self._next, position)
        self._committed = position

    def open(self, offset: int) -> bool:
        """Take a delivered record into work; False when it was delivered before."""
        if offset < self._next:
            return False
        self._open[offset] = None
        self._next = offset + 1
        return True

    def finish(self, offset: int) -> None:
        """Mark a record as finished: all that it caused is acknowledged."""
        self._open.pop(offset, None)

    @property
    def distance(self) -> int:
        """From the lowest open offset to the end of what was delivered."""
        return self._next - next(iter(self._open)) if self._open else 0

    def committable(self) -> int | None:
        """The offset to commit, or None where there is nothing new."""
        offset = next(iter(self._open)) if self._open else self._next
        return offset if offset > self._committed else None

    def committed(self, offset: int) -> None:
        """Remember that a commit succeeded."""
        self._committed = max(self._committed, offset)
