"""Sketches: exact sums, quantiles within 1 %, and no difference between merging and adding."""

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.domain.sketch import (
    GAMMA,
    MAX_VALUE,
    RELATIVE_ERROR,
    ZERO_BUCKET,
    QuantileSketch,
    bucket_of,
    value_of,
)

ROUNDING = 1e-9
"""What floating point may add to the bound."""

values = st.one_of(
    st.integers(min_value=0, max_value=20),
    st.integers(min_value=0, max_value=10_000_000),
    st.integers(min_value=0, max_value=MAX_VALUE),
)


def sketch_of(*numbers: int) -> QuantileSketch:
    """A sketch of these values."""
    sketch = QuantileSketch()
    for number in numbers:
        sketch.add(number)
    return sketch


@given(st.integers(min_value=1, max_value=MAX_VALUE))
def test_the_value_of_a_bucket_is_within_one_percent_of_all_that_it_holds(value: int) -> None:
    """Property: the bound of one bucket, over the whole range."""
    estimate = value_of(bucket_of(value))

    assert abs(estimate - value) <= (RELATIVE_ERROR + ROUNDING) * value


@given(st.integers(min_value=1, max_value=10**9), st.integers(min_value=0, max_value=10**9))
def test_buckets_are_in_the_order_of_their_values(value: int, more: int) -> None:
    """Property: a larger value is never in a lower bucket."""
    assert bucket_of(value + more) >= bucket_of(value)


def test_a_bucket_reaches_up_to_its_power_of_gamma() -> None:
    """The first whole number above a bound is in the next bucket."""
    bound = int(GAMMA**400)

    assert bucket_of(bound) == 400
    assert bucket_of(bound + 1) == 401


@pytest.mark.parametrize("value", [0, -1, -(10**20)])
def test_zero_and_less_share_a_bucket(value: int) -> None:
    """A duration of clocks that ran backwards is none."""
    assert bucket_of(value) == ZERO_BUCKET
    assert value_of(ZERO_BUCKET) == 0.0
    assert sketch_of(value) == sketch_of(0)


@given(st.lists(values, min_size=1, max_size=200), st.floats(min_value=0, max_value=1))
def test_a_quantile_is_within_one_percent_of_the_value_at_its_rank(
    numbers: list[int], q: float
) -> None:
    """Property: the sketch's one promise, against the sorted values themselves."""
    exact = sorted(numbers)[int(q * (len(numbers) - 1))]

    estimate = sketch_of(*numbers).quantile(q)

    assert abs(estimate - exact) <= (RELATIVE_ERROR + ROUNDING) * exact


@given(st.lists(values, max_size=50), st.lists(values, max_size=50))
def test_merging_is_the_sketch_of_all_values(left: list[int], right: list[int]) -> None:
    """Property: bit for bit, however values were grouped."""
    merged = sketch_of(*left)
    merged.absorb(sketch_of(*right))

    assert merged == sketch_of(*left, *right)


@given(st.lists(values, max_size=50), st.randoms(use_true_random=False))
def test_the_order_of_values_leaves_no_trace(numbers: list[int], source: random.Random) -> None:
    """Property: two partitions that counted the same in another order are equal."""
    shuffled = list(numbers)
    source.shuffle(shuffled)

    assert sketch_of(*numbers) == sketch_of(*shuffled)


@given(st.lists(values, max_size=50))
def test_a_sketch_keeps_count_sum_and_extremes_exactly(numbers: list[int]) -> None:
    """Property: what an average needs is no estimate."""
    sketch = sketch_of(*numbers)

    assert sketch.count == len(numbers)
    assert sketch.total == sum(numbers)
    assert sketch.minimum == min(numbers, default=0)
    assert sketch.maximum == max(numbers, default=0)


def test_absorbing_leaves_the_other_as_it_was() -> None:
    """A window that was merged is still published by itself."""
    other = sketch_of(1, 2, 3)
    before = msgspec.msgpack.encode(other)
    sketch = sketch_of()
    sketch.absorb(other)
    sketch.add(4)

    assert msgspec.msgpack.encode(other) == before


def test_values_beyond_the_range_count_as_its_end() -> None:
    """Nothing makes a sketch larger than its number of buckets, or its numbers overflow."""
    sketch = sketch_of(10**30)

    assert sketch == sketch_of(MAX_VALUE)
    assert len(range(ZERO_BUCKET, bucket_of(10**30) + 1)) <= 1_840


@pytest.mark.parametrize("q", [0.0, 0.5, 1.0])
def test_an_empty_sketch_has_no_quantiles(q: float) -> None:
    """A window without values says zero instead of failing."""
    assert QuantileSketch().quantile(q) == 0.0


def test_extremes_are_no_estimates() -> None:
    """The lowest and the highest quantile are the values themselves."""
    sketch = sketch_of(1_003, 5_017, 90_011)

    assert sketch.quantile(0) == pytest.approx(1_003, rel=RELATIVE_ERROR)
    assert sketch.quantile(0) >= 1_003
    assert sketch.quantile(1) <= 90_011


@given(st.lists(values, max_size=50))
def test_a_sketch_survives_the_table(numbers: list[int]) -> None:
    """Property: what is stored is what was counted."""
    sketch = sketch_of(*numbers)
    stored = msgspec.msgpack.encode(sketch)

    assert msgspec.msgpack.decode(stored, type=QuantileSketch) == sketch
