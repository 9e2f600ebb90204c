"""Adding up windows: partitions, dimensions, newest records, and what follows from the sums."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.codec.records import decode_record, encode_record
from services.shared.domain.events import ErrorCount, HopTimes, Sketch, UsageWindow
from services.shared.domain.sketch import QuantileSketch
from services.shared.domain.usage_windows import (
    ALL_PARTITIONS,
    COUNTERS,
    SKETCHES,
    Dimensions,
    HopTally,
    Tally,
    cache_hit_ratio,
    cost_per_success_nanousd,
    dimensions_of,
    merge_partials,
    record_of,
    sketch_of,
    tally_of,
)
from tests.support.slow_examples import slow_examples

DIMENSIONS = Dimensions("acme", "small", "simulator", "sim-chat", "gold", "search", "chat")
START_MS = 1_780_000_000_000

counts = st.integers(min_value=0, max_value=10**9)
sketches = st.builds(
    lambda values: _sketch(*values), st.lists(st.integers(min_value=0, max_value=10**9), max_size=9)
)
tallies = st.builds(
    Tally,
    through_offset=st.integers(min_value=-1, max_value=10**6),
    **dict.fromkeys(COUNTERS, counts),
    errors=st.dictionaries(
        st.tuples(st.sampled_from("ab"), st.just("provider"), st.sampled_from("xy")), counts
    ),
    **dict.fromkeys(SKETCHES, sketches),
    hops=st.dictionaries(
        st.sampled_from(("router", "batcher")),
        st.builds(HopTally, waited=sketches, worked=sketches),
    ),
)


def _sketch(*values: int) -> QuantileSketch:
    sketch = QuantileSketch()
    for value in values:
        sketch.add(value)
    return sketch


def record(
    tally: Tally,
    dimensions: Dimensions = DIMENSIONS,
    *,
    partition: int = 0,
    start_ms: int = START_MS,
) -> UsageWindow:
    """The record of a tally of ten seconds."""
    return record_of(tally, dimensions, start_ms=start_ms, size_s=10, partition=partition)


def test_a_tally_and_its_record_have_the_same_fields() -> None:
    """A new value of a window is in both, or a test says so."""
    of_the_window = {"window_start", "window_s", "source_partition", *Dimensions._fields}

    assert set(UsageWindow.__struct_fields__) - of_the_window == (
        set(Tally.__struct_fields__) - {"merged_through"}
    )


@slow_examples
@given(tallies)
def test_a_tally_survives_the_wire(tally: Tally) -> None:
    """Property: counting on from a decoded record is counting on from the tally."""
    sent = decode_record(encode_record(record(tally)), UsageWindow)

    assert tally_of(sent) == tally
    assert dimensions_of(sent) == DIMENSIONS
    assert (sent.window_start, sent.window_s, sent.source_partition) == (START_MS, 10, 0)


@slow_examples
@given(st.lists(tallies, max_size=4))
def test_the_order_of_partitions_leaves_no_trace(parts: list[Tally]) -> None:
    """Property: merged windows are equal bit for bit, whichever partition was read first."""
    windows = [record(tally, partition=i) for i, tally in enumerate(parts)]

    assert merge_partials(windows) == merge_partials(reversed(windows))


@slow_examples
@given(st.lists(tallies, min_size=1, max_size=4))
def test_partitions_of_a_window_are_added_up(parts: list[Tally]) -> None:
    """Property: every counter and every sketch is the sum of its partials."""
    (merged,) = merge_partials(record(tally, partition=i) for i, tally in enumerate(parts))

    assert merged.source_partition == ALL_PARTITIONS
    for name in COUNTERS:
        assert getattr(merged, name) == sum(getattr(tally, name) for tally in parts)
    for name in SKETCHES:
        assert getattr(merged, name).total == sum(getattr(tally, name).total for tally in parts)
    assert sum(error.count for error in merged.errors) == sum(
        count for tally in parts for count in tally.errors.values()
    )
    assert {hop.service for hop in merged.hops} == {name for tally in parts for name in tally.hops}


def test_the_newest_record_of_a_window_counts() -> None:
    """Open windows are published again and again; the topic may not be compacted yet."""
    windows = [record(Tally(requests=1)), record(Tally(requests=5)), record(Tally(requests=9))]

    (merged,) = merge_partials(windows)

    assert merged.requests == 9


def test_windows_are_told_apart_by_length_start_and_dimensions() -> None:
    """Only partitions are added up, unless somebody asks for less."""
    other = DIMENSIONS._replace(feature="other")
    minute = record_of(Tally(requests=4), DIMENSIONS, start_ms=START_MS, size_s=60, partition=0)
    windows = [
        minute,
        record(Tally(requests=3), start_ms=START_MS + 10_000),
        record(Tally(requests=2), other),
        record(Tally(requests=1)),
    ]

    merged = merge_partials(windows)

    assert [(w.window_s, w.window_start - START_MS, w.feature, w.requests) for w in merged] == [
        (10, 0, "other", 2),
        (10, 0, "search", 1),
        (10, 10_000, "search", 3),
        (60, 0, "search", 4),
    ]


def test_dimensions_that_nobody_asks_for_are_added_up() -> None:
    """A console shows a tenant's total; the label of what was added up is empty."""
    windows = [
        record(Tally(requests=2), DIMENSIONS._replace(feature="a")),
        record(Tally(requests=3), DIMENSIONS._replace(feature="b")),
        record(Tally(requests=5), DIMENSIONS._replace(tenant="blue")),
    ]

    merged = merge_partials(windows, keep=("tenant",))

    assert [(w.tenant, w.feature, w.model, w.requests) for w in merged] == [
        ("acme", "", "", 5),
        ("blue", "", "", 5),
    ]


def test_absorbing_leaves_the_other_as_it_was() -> None:
    """A window that was merged into a longer one is still published by itself."""
    other = Tally(requests=1, hops={"router": HopTally(waited=_sketch(1), worked=_sketch(2))})
    before = msgspec.msgpack.encode(other)
    tally = Tally()
    tally.absorb(other)
    tally.absorb(other)

    assert msgspec.msgpack.encode(other) == before
    assert tally.hops["router"].waited.count == 2


def test_a_record_lists_errors_and_stages_in_order() -> None:
    """Equal tallies make equal bytes."""
    tally = Tally(
        errors={("b", "provider", "x"): 1, ("a", "caller", "y"): 2},
        hops={"router": HopTally(), "batcher": HopTally()},
    )

    window = record(tally)

    assert window.errors == (
        ErrorCount(code="a", fault="caller", service="y", count=2),
        ErrorCount(code="b", fault="provider", service="x", count=1),
    )
    assert window.hops == (
        HopTimes(service="batcher", waited=Sketch(), worked=Sketch()),
        HopTimes(service="router", waited=Sketch(), worked=Sketch()),
    )


def test_quantiles_are_read_from_a_record() -> None:
    """A console shows percentiles of what it merged."""
    window = record(Tally(duration=_sketch(*range(1_000, 101_000, 1_000))))

    assert sketch_of(window.duration).quantile(0.5) == pytest.approx(50_000, rel=0.01)


@pytest.mark.parametrize(
    ("cost_nanousd", "completed", "expected"),
    [(10, 0, None), (10, 4, 3), (9, 4, 2), (0, 3, 0), (1_234, 1, 1_234)],
)
def test_a_success_costs_what_all_calls_cost(
    cost_nanousd: int, completed: int, expected: int | None
) -> None:
    """Failures are paid for by what succeeded; half a nano-USD is rounded up."""
    window = record(Tally(cost_nanousd=cost_nanousd, completed=completed))

    assert cost_per_success_nanousd(window) == expected


@pytest.mark.parametrize(
    ("tally", "expected"),
    [
        (Tally(), None),
        (Tally(cache_bypasses=5), None),
        (Tally(exact_hits=1, semantic_hits=1, cache_misses=2, cache_bypasses=9), 0.5),
        (Tally(cache_misses=3), 0.0),
    ],
)
def test_hit_rates_leave_out_who_did_not_ask(tally: Tally, expected: float | None) -> None:
    """A request that goes past the cache says nothing about it."""
    assert cache_hit_ratio(record(tally)) == expected
