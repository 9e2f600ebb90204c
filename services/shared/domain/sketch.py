"""Mergeable sketches of whole numbers: any quantile within 1 %, in the order of a kilobyte.

A value lies in the bucket whose bounds are consecutive powers of ``GAMMA``, so the middle of its
bucket is never further from it than ``RELATIVE_ERROR``. Sketches are added up bucket by bucket:
the sum is exactly the sketch of all values, in whatever order and grouping they came.
After DDSketch (Masson, Rim, Lee: "DDSketch: A Fast and Fully-Mergeable Quantile Sketch with
Relative-Error Guarantees", VLDB 2019). All state is integer, so equal inputs give equal bits.
"""

from math import ceil, log

import msgspec

RELATIVE_ERROR = 0.01
GAMMA = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
ZERO_BUCKET = -1
"""Bucket of zero, and of what was below it: durations of clocks that ran backwards."""

MAX_VALUE = 2**53 - 1
"""Larger values count as this one; it also bounds a sketch, to 1,838 buckets."""

_PER_LOG = 1 / log(GAMMA)


def bucket_of(value: int) -> int:
    """The bucket ``i`` of a value: ``GAMMA ** (i - 1) < value <= GAMMA ** i``."""
    if value <= 0:
        return ZERO_BUCKET
    return ceil(log(min(value, MAX_VALUE)) * _PER_LOG)


def value_of(bucket: int) -> float:
    """The value that is within ``RELATIVE_ERROR`` of every value in a bucket."""
    if bucket == ZERO_BUCKET:
        return 0.0
    return float(2 * GAMMA**bucket / (GAMMA + 1))


class QuantileSketch(msgspec.Struct, array_like=True):
    """A sketch that values are added to.

    Attributes:
        count: Number of values.
        total: Their sum, in their own unit.
        minimum: The smallest; 0 = there are none.
        maximum: The largest; 0 = there are none.
        buckets: How many values each bucket holds.
    """

    count: int = 0
    total: int = 0
    minimum: int = 0
    maximum: int = 0
    buckets: dict[int, int] = msgspec.field(default_factory=dict)

    def add(self, value: int) -> None:
        """Add one value; values below zero count as zero."""
        if not 0 < value <= MAX_VALUE:
            value = 0 if value <= 0 else MAX_VALUE
        if value < self.minimum or self.count == 0:
            self.minimum = value
        if value > self.maximum:  # noqa: PLR1730  # `max` would cost as much as all of this
            self.maximum = value
        bucket = ceil(log(value) * _PER_LOG) if value else ZERO_BUCKET
        self.count += 1
        self.total += value
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1

    def absorb(self, other: "QuantileSketch") -> None:
        """Add all values of another sketch, which stays as it is."""
        if other.count == 0:
            return
        self.minimum = min(self.minimum, other.minimum) if self.count else other.minimum
        self.maximum = max(self.maximum, other.maximum)
        self.count += other.count
        self.total += other.total
        for bucket, count in other.buckets.items():
            self.buckets[bucket] = self.buckets.get(bucket, 0) + count

    def quantile(self, q: float) -> float:
        """The value that a share ``q`` (0..1) of all values do not exceed, within 1 %.

        It is the one at rank ``q * (count - 1)``, rounded down; 0 where there are none.
        """
        rank = int(q * (self.count - 1))
        passed = 0
        for bucket in sorted(self.buckets):
            passed += self.buckets[bucket]
            if passed > rank:
                return min(max(value_of(bucket), self.minimum), self.maximum)
        return 0.0
