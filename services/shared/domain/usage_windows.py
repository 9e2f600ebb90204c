"""Adding up what requests used: tallies while counting, ``UsageWindow`` records on the wire.

``merge_partials`` is how everybody reads the topic ``usage-windows``.
"""

from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

import msgspec

from services.shared.domain.events import ErrorCount, HopTimes, Sketch, UsageWindow
from services.shared.domain.sketch import QuantileSketch

OTHER: Final = "_other"
"""Stands for every value of a dimension beyond the number that is kept."""

ALL_PARTITIONS: Final = -1


class Dimensions(NamedTuple):
    """What requests are told apart by; see ``UsageWindow``."""

    tenant: str
    model: str
    provider: str
    provider_model: str
    tier: str
    feature: str
    operation: str


class HopTally(msgspec.Struct, array_like=True):
    """``HopTimes`` that values are added to."""

    waited: QuantileSketch = msgspec.field(default_factory=QuantileSketch)
    worked: QuantileSketch = msgspec.field(default_factory=QuantileSketch)


class Tally(msgspec.Struct, array_like=True):
    """A ``UsageWindow`` that requests are added to; fields as there, and one more.

    Stored as an array: new fields go to the end, with defaults.

    Attributes:
        merged_through: Start of the last 10-s window that was merged into this longer one, unix
            ms; -1 = none. They are merged in order, so one number tells all.
        errors: Requests by code, fault and service.
        hops: Times by stage.
    """

    through_offset: int = -1
    merged_through: int = -1
    requests: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    expired: int = 0
    streams: int = 0
    exact_hits: int = 0
    semantic_hits: int = 0
    cache_misses: int = 0
    cache_bypasses: int = 0
    model_calls: int = 0
    failed_calls: int = 0
    late: int = 0
    early: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    reasoning_output_tokens: int = 0
    estimated_calls: int = 0
    cost_nanousd: int = 0
    errors: dict[tuple[str, str, str], int] = msgspec.field(default_factory=dict)
    duration: QuantileSketch = msgspec.field(default_factory=QuantileSketch)
    first_chunk: QuantileSketch = msgspec.field(default_factory=QuantileSketch)
    batch_size: QuantileSketch = msgspec.field(default_factory=QuantileSketch)
    hops: dict[str, HopTally] = msgspec.field(default_factory=dict)
    joined: int = 0

    def absorb(self, other: "Tally") -> None:
        """Add all requests of another tally, which stays as it is."""
        self.through_offset = max(self.through_offset, other.through_offset)
        for name in COUNTERS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for error, count in other.errors.items():
            self.errors[error] = self.errors.get(error, 0) + count
        for name in SKETCHES:
            getattr(self, name).absorb(getattr(other, name))
        for service, times in other.hops.items():
            own = self.hops.setdefault(service, HopTally())
            own.waited.absorb(times.waited)
            own.worked.absorb(times.worked)


SKETCHES: Final = ("duration", "first_chunk", "batch_size")
_OF_ITS_OWN: Final = frozenset({"through_offset", "merged_through", "errors", "hops", *SKETCHES})
COUNTERS: Final = tuple(name for name in Tally.__struct_fields__ if name not in _OF_ITS_OWN)
"""Fields that are simply added up."""


def record_of(
    tally: Tally, dimensions: Dimensions, *, start_ms: int, size_s: int, partition: int
) -> UsageWindow:
    """The record of a tally.

    Args:
        tally: What was counted.
        dimensions: Of which requests.
        start_ms: Start of the window, unix ms.
        size_s: Its length, seconds.
        partition: Partition that was counted.
    """
    return UsageWindow(
        window_start=start_ms,
        window_s=size_s,
        source_partition=partition,
        through_offset=tally.through_offset,
        **dimensions._asdict(),
        **{name: getattr(tally, name) for name in COUNTERS},
        errors=tuple(
            ErrorCount(code=code, fault=fault, service=service, count=count)
            for (code, fault, service), count in sorted(tally.errors.items())
        ),
        duration=_frozen(tally.duration),
        first_chunk=_frozen(tally.first_chunk),
        batch_size=_frozen(tally.batch_size),
        hops=tuple(
            HopTimes(service=service, waited=_frozen(times.waited), worked=_frozen(times.worked))
            for service, times in sorted(tally.hops.items())
        ),
    )


def tally_of(window: UsageWindow) -> Tally:
    """The tally of a record, to add others to."""
    return Tally(
        through_offset=window.through_offset,
        **{name: getattr(window, name) for name in COUNTERS},
        errors={(error.code, error.fault, error.service): error.count for error in window.errors},
        duration=sketch_of(window.duration),
        first_chunk=sketch_of(window.first_chunk),
        batch_size=sketch_of(window.batch_size),
        hops={
            hop.service: HopTally(waited=sketch_of(hop.waited), worked=sketch_of(hop.worked))
            for hop in window.hops
        },
    )


def dimensions_of(window: UsageWindow) -> Dimensions:
    """The dimensions of a record."""
    return Dimensions(*(getattr(window, name) for name in Dimensions._fields))


def sketch_of(sketch: Sketch) -> QuantileSketch:
    """The sketch of a record, to ask for quantiles or to add others to."""
    return QuantileSketch(
        count=sketch.count,
        total=sketch.total,
        minimum=sketch.minimum,
        maximum=sketch.maximum,
        buckets=dict(zip(sketch.buckets, sketch.counts, strict=True)),
    )


def merge_partials(
    windows: Iterable[UsageWindow], *, keep: Collection[str] = Dimensions._fields
) -> list[UsageWindow]:
    """Add up the partitions of each window, and the dimensions that nobody asks for.

    Args:
        windows: Records of ``usage-windows`` in the order of the log: of several records of one
            window, partition and set of dimensions, the last one counts.
        keep: Names of the dimensions to tell apart; the others are empty in the result.

    Returns:
        One record a window and set of kept dimensions, with source partition -1; by length,
        start and dimensions.
    """
    newest = {
        (w.window_s, w.window_start, w.source_partition, dimensions_of(w)): w for w in windows
    }
    totals: dict[tuple[int, int, Dimensions], Tally] = {}
    for (size_s, start_ms, _partition, dimensions), window in newest.items():
        kept = Dimensions(
            *(
                value if name in keep else ""
                for name, value in zip(Dimensions._fields, dimensions, strict=True)
            )
        )
        totals.setdefault((size_s, start_ms, kept), Tally()).absorb(tally_of(window))
    return [
        record_of(tally, kept, start_ms=start_ms, size_s=size_s, partition=ALL_PARTITIONS)
        for (size_s, start_ms, kept), tally in sorted(totals.items(), key=lambda item: item[0])
    ]


def cost_per_success_nanousd(window: UsageWindow) -> int | None:
    """What an answer cost, failures included, nano-USD; None where there was none."""
    if not window.completed:
        return None
    return (window.cost_nanousd + window.completed // 2) // window.completed


def cache_hit_ratio(window: UsageWindow) -> float | None:
    """Share of the requests that the cache answered among those that asked it; None = none did."""
    hits = window.exact_hits + window.semantic_hits
    asked = hits + window.cache_misses
    return hits / asked if asked else None


def _frozen(sketch: QuantileSketch) -> Sketch:
    buckets = sorted(sketch.buckets)
    return Sketch(
        count=sketch.count,
        total=sketch.total,
        minimum=sketch.minimum,
        maximum=sketch.maximum,
        buckets=tuple(buckets),
        counts=tuple(sketch.buckets[bucket] for bucket in buckets),
    )
