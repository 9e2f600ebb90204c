"""Priority lanes over one pool of slots."""

from collections import Counter

from services.shared.domain.topics import BATCH_TOPICS
from tests.contract.stream.rig import Keeper, Rig, stage_of

_SLOTS = 60
_LANES = {0: range(1000, 1200), 1: range(2000, 2200), 2: range(3000, 3200)}


async def _fill(rig: Rig, *lanes: int) -> None:
    for lane in lanes:
        await rig.pipe(*(rig.batch(number) for number in _LANES[lane]), topic=BATCH_TOPICS[lane])


def _by_lane(keeper: Keeper) -> dict[int, int]:
    count = Counter(number // 1000 - 1 for number in keeper.open)
    return {lane: count[lane] for lane in _LANES}


async def _turn_over(rig: Rig, keeper: Keeper, records: int) -> None:
    """Finish records, the oldest first, whenever the pool is full."""
    for _ in range(records):
        await keeper.let_go(next(iter(keeper.open)))
        await rig.let_pass(0.002)


async def test_busy_lanes_share_by_weight(rig: Rig) -> None:
    """Of 60 slots 12 are p0's reserve, and the other 48 are shared 8:3:1."""
    keeper = Keeper()
    await _fill(rig, 0, 1, 2)
    await rig.start(stage_of(keeper, topics=BATCH_TOPICS, records=_SLOTS))
    await rig.until(lambda: len(keeper.open) == _SLOTS)
    await _turn_over(rig, keeper, 120)
    await rig.until(lambda: len(keeper.open) == _SLOTS)
    assert _by_lane(keeper) == {0: 44, 1: 12, 2: 4}
    assert keeper.most == _SLOTS


async def test_background_work_never_starves(rig: Rig) -> None:
    """However much p0 has, p2 is served with every turn-over of the pool."""
    keeper = Keeper()
    await _fill(rig, 0)
    await rig.start(stage_of(keeper, topics=BATCH_TOPICS, records=_SLOTS))
    await rig.until(lambda: len(keeper.open) == _SLOTS)
    assert _by_lane(keeper) == {0: _SLOTS, 1: 0, 2: 0}
    await _fill(rig, 2)
    await rig.let_pass(0.3)
    await _turn_over(rig, keeper, 2 * _SLOTS)
    assert _by_lane(keeper)[2] >= 4


async def test_a_user_never_waits_for_background_work(rig: Rig) -> None:
    """A reserve of a fifth is always free for p0, however full the rest is."""
    keeper = Keeper()
    await _fill(rig, 1, 2)
    await rig.start(stage_of(keeper, topics=BATCH_TOPICS, records=_SLOTS))
    await rig.until(lambda: len(keeper.open) == 48)
    await rig.let_pass(0.3)
    assert len(keeper.open) == 48
    await rig.pipe(*(rig.batch(number) for number in range(1000, 1012)), topic=BATCH_TOPICS[0])
    await rig.until(lambda: _by_lane(keeper)[0] == 12)


async def test_an_idle_pool_is_all_anybodys(rig: Rig) -> None:
    """A lane alone takes what is not reserved for p0, and p0 alone takes everything."""
    keeper = Keeper()
    await _fill(rig, 2)
    await rig.start(stage_of(keeper, topics=BATCH_TOPICS, records=_SLOTS))
    await rig.until(lambda: len(keeper.open) == 48)
    await _fill(rig, 0)
    await rig.let_pass(0.3)
    while any(number >= 2000 for number in keeper.open):
        await keeper.let_go(*(number for number in list(keeper.open) if number >= 2000))
        await rig.let_pass(0.05)
    assert keeper.most <= _SLOTS
    await rig.until(lambda: _by_lane(keeper) == {0: _SLOTS, 1: 0, 2: 0})


async def test_each_lane_commits_in_a_group_of_its_own(rig: Rig) -> None:
    """So no lane's rebalance stops another one."""
    keeper = Keeper()
    await rig.pipe(rig.batch(1000), topic=BATCH_TOPICS[0])
    await rig.pipe(rig.batch(3000), topic=BATCH_TOPICS[2])
    await rig.start(stage_of(keeper, topics=BATCH_TOPICS))
    await rig.until(lambda: len(keeper.open) == 2)
    await keeper.let_go(1000, 3000)
    await rig.until_committed(1, BATCH_TOPICS[0], group="probe-p0")
    await rig.until_committed(1, BATCH_TOPICS[2], group="probe-p2")


async def test_a_held_lane_takes_nothing_and_the_others_go_on(rig: Rig) -> None:
    """A low priority can be paused while topics downstream are long."""
    keeper = Keeper()
    process = await rig.start(stage_of(keeper, topics=BATCH_TOPICS))
    process.runtime.hold_lane(2, is_held=True)
    await rig.pipe(rig.batch(3000), topic=BATCH_TOPICS[2])
    await rig.pipe(rig.batch(1000), topic=BATCH_TOPICS[0])
    await rig.until(lambda: 1000 in keeper.open)
    await rig.let_pass(0.5)
    assert 3000 not in keeper.open
    process.runtime.hold_lane(2, is_held=False)
    await rig.until(lambda: 3000 in keeper.open)
