"""Sharing slots among lanes."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from services.shared.stream.lanes import RESERVE_RATIO, PoolLimits, SlotPool, allowance
from tests.support.fake_clock import FakeClock, run_on_fake_time

LANES = (0, 1, 2)
ALL = frozenset(LANES)
capacities = st.integers(20, 5000)
steps = st.lists(st.tuples(st.sampled_from(LANES), st.booleans(), st.integers(1, 50)), max_size=200)


@given(capacity=capacities, steps=steps, wanting=st.sets(st.sampled_from(LANES)))
def test_the_pool_is_never_overdrawn(
    capacity: int, steps: list[tuple[int, bool, int]], wanting: set[int]
) -> None:
    """Whatever lanes take and free, together they hold at most the capacity.

    Lanes 1 and 2 never touch the part of the reserve that lane 0 does not use.
    """
    in_use = dict.fromkeys(LANES, 0)
    reserve = int(capacity * RESERVE_RATIO)
    for lane, takes, count in steps:
        busy = frozenset(other for other in LANES if in_use[other]) | wanting
        if takes:
            allowed = allowance(lane, capacity=capacity, in_use=in_use, wanting=busy)
            in_use[lane] += min(count, allowed)
        else:
            in_use[lane] -= min(count, in_use[lane])
        assert sum(in_use.values()) <= capacity
        assert in_use[1] + in_use[2] <= capacity - reserve


@given(capacity=capacities, first=st.integers(0, 5000), second=st.integers(0, 5000))
def test_background_work_always_gets_its_share(capacity: int, first: int, second: int) -> None:
    """Once the others are down to theirs, p2 may take until it has a twelfth of what is shared."""
    reserve = int(capacity * RESERVE_RATIO)
    shared = capacity - reserve
    in_use = {0: min(first, shared * 8 // 12 + reserve), 1: min(second, shared * 3 // 12), 2: 0}
    allowed = allowance(2, capacity=capacity, in_use=in_use, wanting=ALL)
    assert allowed == max(1, shared // 12)


@given(capacity=capacities, first=st.integers(0, 5000), second=st.integers(0, 5000))
def test_a_full_pool_turns_over_to_who_waits(capacity: int, first: int, second: int) -> None:
    """From any state, if everybody takes what is allowed and slots free up, p2 gets some."""
    in_use = {0: min(first, capacity), 1: 0, 2: 0}
    in_use[1] = min(second, capacity - in_use[0], capacity - int(capacity * RESERVE_RATIO))
    turns = 0
    while not in_use[2]:
        for lane in LANES:
            in_use[lane] += allowance(lane, capacity=capacity, in_use=in_use, wanting=ALL)
        for lane in (0, 1):
            in_use[lane] -= -(-in_use[lane] // 10)
        turns += 1
        assert turns < 100


@given(capacity=capacities, used=st.integers(0, 5000))
def test_a_single_lane_has_it_all(capacity: int, used: int) -> None:
    """A stage without lanes keeps no reserve."""
    allowed = allowance(0, capacity=capacity, in_use={0: used}, wanting=frozenset({0}))
    assert allowed == max(0, capacity - used)


def test_a_lane_alone_takes_all_but_the_reserve() -> None:
    """P0 alone takes the reserve as well."""
    idle = {0: 0, 1: 0, 2: 0}
    assert allowance(0, capacity=100, in_use=idle, wanting=frozenset({0})) == 100
    assert allowance(1, capacity=100, in_use=idle, wanting=frozenset({1})) == 80
    assert allowance(2, capacity=100, in_use=idle, wanting=frozenset({2})) == 80


def test_bytes_bound_a_lane_before_records_do() -> None:
    """The last fifth of the bytes is lane 0's, too."""
    pool = SlotPool(limits=PoolLimits(records=100, size_bytes=1000), lanes=3)
    pool.take(1, 800)
    assert pool.allowance(1) == 0
    assert pool.allowance(2) == 0
    assert pool.allowance(0) > 0
    pool.take(0, 200)
    assert pool.allowance(0) == 0
    pool.free(1, 800)
    assert (pool.in_use, pool.in_use_bytes) == (1, 200)
    assert pool.allowance(1) > 0


def test_who_waits_is_counted_among_those_who_want() -> None:
    """A lane that waits takes its share out of the others' before it holds anything."""

    async def scenario(clock: FakeClock) -> None:
        pool = SlotPool(limits=PoolLimits(records=120, size_bytes=10**9), lanes=3)
        assert pool.allowance(1) == 96
        waiting = asyncio.ensure_future(pool.wait(2, timeout_s=5))
        await asyncio.sleep(0)
        assert pool.allowance(1) == 72
        await waiting
        assert clock.monotonic_s() == 5
        assert pool.allowance(1) == 96

    run_on_fake_time(scenario)
