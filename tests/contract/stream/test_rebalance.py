"""Partitions that come and go while records are in work."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from services.shared.stream.work import Work
from tests.contract.stream.rig import OUT, Keeper, Rig, answer_all, number_of, stage_of
from tests.support.log_backend import LogBackend

_PARTITIONS = 4


@pytest.fixture
async def wide_rig(backend: LogBackend) -> AsyncIterator[Rig]:
    """A rig whose topics have several partitions."""
    rig = Rig(backend)
    await rig.make_topics(partitions=_PARTITIONS)
    yield rig
    for process in rig.processes:
        await process.kill()


async def _pipe_everywhere(rig: Rig, numbers: range) -> None:
    for number in numbers:
        await rig.pipe(rig.miss(number), partition=number % _PARTITIONS)


async def _committed(rig: Rig) -> list[int]:
    return [await rig.committed(partition=i) for i in range(_PARTITIONS)]


async def test_records_that_come_back_to_their_process_are_not_repeated(wide_rig: Rig) -> None:
    """Open ones go on; finished ones that could not be committed are committed now."""
    rig = wide_rig
    keeper = Keeper()
    await _pipe_everywhere(rig, range(8))
    await rig.start(stage_of(keeper))
    await rig.until(lambda: len(keeper.open) == 8)
    await keeper.let_go(4, 5, 6, 7)  # the second record of each partition
    guest = await rig.start(stage_of(Keeper(), drain_s=0.1))
    await rig.until(lambda: guest.runtime.in_flight > 0)
    await guest.stop()
    await _pipe_everywhere(rig, range(8, 12))
    await rig.until(lambda: len(keeper.seen) >= 12)
    assert sorted(keeper.seen) == list(range(12))
    await keeper.let_go(*list(keeper.open))

    async def all_committed() -> bool:
        return await _committed(rig) == [3] * _PARTITIONS

    await rig.until(all_committed)
    assert sorted(await rig.numbers(OUT)) == list(range(12))


async def test_a_partition_that_another_process_served_goes_on_where_it_stands(
    wide_rig: Rig,
) -> None:
    """What the other one committed is not repeated, and an old open record holds nothing back."""
    rig = wide_rig
    keeper = Keeper()
    await _pipe_everywhere(rig, range(4))
    await rig.start(stage_of(keeper))
    await rig.until(lambda: len(keeper.open) == 4)
    served: list[int] = []

    async def serve(works: Sequence[Work[Any]]) -> None:
        served.extend(number_of(work.event) for work in works)
        await answer_all(works)

    guest = await rig.start(stage_of(serve))

    async def guest_has_committed() -> bool:
        return (await _committed(rig)).count(1) == 2

    await rig.until(guest_has_committed)
    await guest.stop()
    await _pipe_everywhere(rig, range(4, 8))
    await rig.until(lambda: len(keeper.seen) == 8)
    assert sorted(keeper.seen) == list(range(8))
    for number in served:
        await keeper.let_go(number + 4)
    partitions = [number % _PARTITIONS for number in served]

    async def theirs_committed() -> bool:
        return all([await rig.committed(partition=i) == 2 for i in partitions])

    await rig.until(theirs_committed)
    await keeper.let_go(*list(keeper.open))

    async def all_committed() -> bool:
        return await _committed(rig) == [2] * _PARTITIONS

    await rig.until(all_committed)


async def test_nothing_is_lost_while_processes_come_and_go(wide_rig: Rig) -> None:
    """Every record is answered at least once, through joins, leaves and kills under load."""
    rig = wide_rig
    keeper_stage = stage_of(answer_all)
    await rig.start(keeper_stage)
    written = 0
    for change in ("join", "kill", "join", "leave"):
        await _pipe_everywhere(rig, range(written, written + 100))
        written += 100
        if change == "join":
            await rig.start(keeper_stage)
        elif change == "kill":
            await rig.processes[-1].kill()
        else:
            await rig.processes[-1].stop()

    async def all_answered() -> bool:
        return set(await rig.numbers(OUT)) == set(range(written))

    await rig.until(all_answered)

    async def all_committed() -> bool:
        return await _committed(rig) == [written // _PARTITIONS] * _PARTITIONS

    await rig.until(all_committed)


async def test_a_held_lane_stays_held_over_a_rebalance(wide_rig: Rig) -> None:
    """A rebalance clears pauses in the client; the loop applies them again."""
    rig = wide_rig
    seen: list[int] = []

    async def process(works: Sequence[Work[Any]]) -> None:
        seen.extend(number_of(work.event) for work in works)
        await answer_all(works)

    first = await rig.start(stage_of(process))
    first.runtime.hold_lane(0, is_held=True)
    guest = await rig.start(stage_of(answer_all))
    await guest.stop()
    await rig.let_pass(0.5)
    await _pipe_everywhere(rig, range(8))
    await rig.let_pass(1)
    assert seen == []
    first.runtime.hold_lane(0, is_held=False)
    await rig.until(lambda: len(seen) == 8)


async def test_a_restarted_static_process_goes_on_at_once(rig: Rig, tmp_path: Any) -> None:
    """With a slot, a killed and restarted process waits for no session to end."""
    first = await rig.start(stage_of(answer_all), slots=tmp_path)
    await rig.pipe(rig.miss(0))
    await rig.until_committed(1)
    await first.kill()
    before_s = rig.backend.clock.monotonic_s()
    await rig.start(stage_of(answer_all), slots=tmp_path)
    await rig.pipe(rig.miss(1))
    await rig.until_committed(2)
    assert rig.backend.clock.monotonic_s() - before_s < rig.backend.session_timeout_s


async def test_a_killed_broker_loses_nothing_under_load(mortal_rig: Rig) -> None:
    """Accepted records are answered when it is back, with nobody's help."""
    rig = mortal_rig
    await rig.start(stage_of(answer_all))
    await rig.pipe(*(rig.miss(i) for i in range(200)))
    async with rig.backend.restart():
        await rig.let_pass(0.5)
    await rig.pipe(*(rig.miss(i) for i in range(200, 300)))
    await rig.until_committed(300)
    assert set(await rig.numbers(OUT)) == set(range(300))
