"""A process that leaves its groups first and finishes its records then."""

import asyncio
from pathlib import Path

import pytest

from tests.contract.stream.members import TOPIC, Member
from tests.contract.stream.rig import Keeper, Rig, stage_of
from tests.support.log_backend import LogBackend

_SOON_S = 1.5
BOTH = pytest.mark.parametrize("is_static", [False, True], ids=["dynamic", "static"])


@BOTH
async def test_a_member_that_leaves_is_replaced_at_once(
    backend: LogBackend, *, is_static: bool
) -> None:
    """Its partitions go to others before its session is over, and its name may join again."""
    await backend.make_topic(TOPIC, partitions=2)
    names = ("a", "b") if is_static else (None, None)
    first = await Member(backend, instance_id=names[0]).join()
    other = await Member(backend, instance_id=names[1]).join()
    await backend.until(lambda: len(first.owned) == len(other.owned) == 1)
    await first.consumer.leave()
    assert first.owned == set()
    await backend.until(lambda: other.owned == {0, 1}, timeout_s=_SOON_S)
    again = await Member(backend, instance_id=names[0]).join()
    await backend.until(lambda: len(again.owned) == len(other.owned) == 1)
    await again.consumer.stop()
    await other.consumer.stop()


@BOTH
async def test_a_record_in_work_goes_on_while_others_have_its_partition(
    rig: Rig, tmp_path: Path, *, is_static: bool
) -> None:
    """Its reader leaves; another takes the partition at once; what the first emits still counts."""
    first, second = Keeper(), Keeper()
    await rig.pipe(*(rig.miss(i) for i in range(3)))
    leaving = await rig.start(
        stage_of(first, drain_s=60.0, leaves_first=True), slots=tmp_path if is_static else None
    )
    await rig.until(lambda: len(first.open) == 3)
    await first.let_go(0)
    await rig.until_committed(1)
    stopping = asyncio.ensure_future(leaving.stop())
    await asyncio.sleep(0.1)
    before_s = rig.backend.clock.monotonic_s()
    await rig.start(stage_of(second))
    await rig.pipe(rig.miss(3))
    await rig.until(lambda: 3 in second.open)
    assert rig.backend.clock.monotonic_s() - before_s < _SOON_S
    assert second.seen == [1, 2, 3]
    await asyncio.sleep(1.5 * rig.backend.session_timeout_s)
    assert not stopping.done()
    await first.let_go(1, 2)
    async with asyncio.timeout(_SOON_S):
        await stopping
    assert await rig.numbers() == [0, 1, 2]
    assert await rig.committed() == 1
    await second.let_go(1, 2, 3)
    await rig.until_committed(4)


async def test_who_leaves_ends_after_its_time(rig: Rig) -> None:
    """A record that does not finish does not keep the process for ever."""
    keeper = Keeper()
    await rig.pipe(rig.miss(0))
    process = await rig.start(stage_of(keeper, drain_s=0.5, leaves_first=True))
    await rig.until(lambda: len(keeper.open) == 1)
    async with asyncio.timeout(0.5 + _SOON_S):
        await process.stop()
    assert await rig.committed() == 0
