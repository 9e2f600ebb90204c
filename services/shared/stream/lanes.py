"""How one pool of slots is shared by priority lanes.

Every record in work holds a slot and its bytes. Lane 0 alone may use the reserve; the rest is
shared by weight among the lanes that want slots, so a busy lane 0 slows lane 2 down but never
starves it.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence

import msgspec

RESERVE_RATIO = 0.2
WEIGHTS = (8, 3, 1)


class PoolLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of a pool.

    Attributes:
        records: Records in work at most.
        size_bytes: Bytes at which no more are taken; one record at most lies above it.
    """

    records: int
    size_bytes: int


def allowance(
    lane: int,
    *,
    capacity: int,
    in_use: Mapping[int, int],
    wanting: frozenset[int],
    weights: Sequence[int] = WEIGHTS,
) -> int:
    """Slots that a lane may take now.

    Args:
        lane: The lane that asks, 0 = most urgent.
        capacity: Slots of the whole pool.
        in_use: Slots held by each lane.
        wanting: Lanes that want slots or hold some; the asking one is always among them.
        weights: Share of each lane.
    """
    if len(in_use) == 1:
        return max(0, capacity - in_use[lane])
    reserve = int(capacity * RESERVE_RATIO)
    shared = capacity - reserve
    weight = sum(weights[other] for other in wanting | {lane})
    share = max(1, shared * weights[lane] // weight) + (reserve if lane == 0 else 0)
    unused_reserve = max(0, reserve - in_use[0])
    free = capacity - sum(in_use.values()) - (0 if lane == 0 else unused_reserve)
    return max(0, min(share - in_use[lane], free))


class SlotPool:
    """The slots of one process."""

    def __init__(self, *, limits: PoolLimits, lanes: int) -> None:
        """Start with all slots free."""
        self._records = limits.records
        self._in_use = dict.fromkeys(range(lanes), 0)
        self._waiting: set[int] = set()
        self._bytes = 0
        shared_bytes = max(1, int(limits.size_bytes * (1 - RESERVE_RATIO)))
        self._most_bytes = (limits.size_bytes, *(shared_bytes for _ in range(1, lanes)))
        self._freed = asyncio.Event()

    @property
    def in_use(self) -> int:
        """Records in work."""
        return sum(self._in_use.values())

    @property
    def in_use_bytes(self) -> int:
        """Their bytes."""
        return self._bytes

    def allowance(self, lane: int) -> int:
        """Records that a lane may take now."""
        if not self.has_bytes(lane):
            return 0
        busy = frozenset(i for i, used in self._in_use.items() if used or i in self._waiting)
        return allowance(lane, capacity=self._records, in_use=self._in_use, wanting=busy)

    def has_bytes(self, lane: int) -> bool:
        """Whether one more record of a lane may be taken, as far as bytes go."""
        return self._bytes < self._most_bytes[lane]

    def take(self, lane: int, size_bytes: int) -> None:
        """Hold a slot."""
        self._in_use[lane] += 1
        self._bytes += size_bytes

    def free(self, lane: int, size_bytes: int) -> None:
        """Give a slot back."""
        self._in_use[lane] -= 1
        self._bytes -= size_bytes
        self._freed.set()

    async def wait(self, lane: int, *, timeout_s: float) -> None:
        """Wait until a slot may be free, at most ``timeout_s``; other lanes know that we wait."""
        self._waiting.add(lane)
        self._freed.clear()
        try:
            with contextlib.suppress(TimeoutError):  # the caller looks again
                async with asyncio.timeout(timeout_s):
                    await self._freed.wait()
        finally:
            self._waiting.discard(lane)
