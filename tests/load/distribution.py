"""Distributions of durations whose percentiles are right to half a percent, however many there are.

Like HdrHistogram: values are counted in buckets, each 1 % wider than the one before.
"""

import math
from collections import Counter

import msgspec

_GROWTH = math.log(1.01)
_HALF_BUCKET = math.sqrt(1.01)
_SMALLEST_MS = 0.001


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What a distribution says.

    Attributes:
        count: Number of values.
        mean_ms: Mean.
        p50_ms: Half of the values are at most this.
        p90_ms: 90 % are.
        p99_ms: 99 % are.
        p999_ms: 99.9 % are.
        max_ms: The largest value.
    """

    count: int = 0
    mean_ms: float = 0.0
    p50_ms: float = 0.0
    p90_ms: float = 0.0
    p99_ms: float = 0.0
    p999_ms: float = 0.0
    max_ms: float = 0.0


class Distribution:
    """Durations, counted."""

    __slots__ = ("_buckets", "_count", "_max_ms", "_sum_ms")

    def __init__(self) -> None:
        """Begin without values."""
        self._buckets: Counter[int] = Counter()
        self._count = 0
        self._sum_ms = 0.0
        self._max_ms = 0.0

    def record(self, value_ms: float) -> None:
        """Count one; below a microsecond is nothing."""
        value_ms = max(value_ms, _SMALLEST_MS)
        self._buckets[math.floor(math.log(value_ms) / _GROWTH)] += 1
        self._count += 1
        self._sum_ms += value_ms
        self._max_ms = max(self._max_ms, value_ms)

    def percentile_ms(self, ratio: float) -> float:
        """The value that this share of all values does not exceed; 0 when there is none.

        Args:
            ratio: The share, 0..1.
        """
        rank = math.ceil(ratio * self._count)
        seen = 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= rank:
                return min(math.exp(bucket * _GROWTH) * _HALF_BUCKET, self._max_ms)
        return 0.0

    def summary(self) -> Summary:
        """The figures that are reported."""
        return Summary(
            count=self._count,
            mean_ms=self._sum_ms / self._count if self._count else 0.0,
            p50_ms=self.percentile_ms(0.5),
            p90_ms=self.percentile_ms(0.9),
            p99_ms=self.percentile_ms(0.99),
            p999_ms=self.percentile_ms(0.999),
            max_ms=self._max_ms,
        )
