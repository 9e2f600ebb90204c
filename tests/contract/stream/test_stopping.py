"""The end of a process that is told to stop."""

import asyncio
from collections.abc import Sequence

import pytest

from services.shared.stream.work import Work
from tests.contract.stream.rig import IN, OUT, Keeper, Rig, answer_all, stage_of

_SOON_S = 3.0


async def test_an_idle_process_stops_at_once(rig: Rig) -> None:
    """A poll that waits for records is not waited for."""
    process = await rig.start(stage_of(answer_all))
    await rig.let_pass(0.2)
    before_s = rig.backend.clock.monotonic_s()
    await process.stop()
    assert rig.backend.clock.monotonic_s() - before_s < 0.9


async def test_open_records_are_finished_and_committed(rig: Rig) -> None:
    """A stop takes no new record, waits for the open ones, and leaves nothing to repeat."""
    keeper = Keeper()
    await rig.pipe(*(rig.miss(i) for i in range(3)))
    process = await rig.start(stage_of(keeper))
    await rig.until(lambda: len(keeper.open) == 3)
    stopping = asyncio.ensure_future(process.stop())
    await asyncio.sleep(0.1)
    await rig.pipe(rig.miss(3))
    assert not stopping.done()
    await keeper.let_go(0, 1, 2)
    async with asyncio.timeout(_SOON_S):
        await stopping
    assert await rig.committed() == 3
    assert await rig.numbers(OUT) == [0, 1, 2]
    assert keeper.seen == [0, 1, 2]


async def test_a_record_that_does_not_finish_is_left_to_the_next_process(rig: Rig) -> None:
    """After the time to drain the process ends; what is contiguous is committed, no more."""
    keeper = Keeper()
    await rig.pipe(*(rig.miss(i) for i in range(3)))
    process = await rig.start(stage_of(keeper, drain_s=0.5))
    await rig.until(lambda: len(keeper.open) == 3)
    await keeper.let_go(0, 2)
    async with asyncio.timeout(0.5 + _SOON_S):
        await process.stop()
    assert await rig.committed() == 1


async def test_a_processor_that_hangs_is_not_waited_for(rig: Rig) -> None:
    """Not even one that holds the loop itself."""

    async def process(_works: Sequence[Work[object]]) -> None:  # type: ignore[type-var]
        await asyncio.Event().wait()

    await rig.pipe(rig.miss(0))
    running = await rig.start(stage_of(process, drain_s=0.5))
    await rig.let_pass(0.2)
    async with asyncio.timeout(0.5 + _SOON_S):
        await running.stop()
    assert await rig.committed() == 0


async def test_a_stopped_process_leaves_its_partitions_to_others_at_once(rig: Rig) -> None:
    """Without a slot its membership is dynamic, and it says goodbye."""
    process = await rig.start(stage_of(answer_all))
    await rig.pipe(rig.miss(0))
    await rig.until_committed(1)
    await process.stop()
    before_s = rig.backend.clock.monotonic_s()
    await rig.start(stage_of(answer_all))
    await rig.pipe(rig.miss(1))
    await rig.until_committed(2)
    assert rig.backend.clock.monotonic_s() - before_s < rig.backend.session_timeout_s


async def test_a_stop_before_kafka_is_there_ends_at_once(rig: Rig) -> None:
    """A process that waits for its broker can be told to stop."""
    rig.backend.connect = rig.backend.connect_to_nobody  # type: ignore[method-assign]
    process = rig.prepare(stage_of(answer_all))
    await asyncio.sleep(0.5)
    async with asyncio.timeout(_SOON_S):
        await process.stop()


async def test_stopping_in_an_outage_takes_no_longer_than_promised(stoppable_rig: Rig) -> None:
    """With a broker that answers nobody and records in work, the end is bounded."""
    rig = stoppable_rig
    keeper = Keeper()
    await rig.pipe(*(rig.miss(i) for i in range(3)))
    process = await rig.start(stage_of(keeper, drain_s=1.0))
    await rig.until(lambda: len(keeper.open) == 3)
    async with rig.backend.outage():
        await keeper.let_go(0)
        async with asyncio.timeout(1.0 + _SOON_S):
            await process.stop()
    await rig.start(stage_of(answer_all))
    await rig.until_committed(3)
    assert set(await rig.numbers(OUT)) == {0, 1, 2}


async def test_what_ends_a_processor_before_it_runs_ends_the_process(rig: Rig) -> None:
    """An error in the making of a processor is no silence."""
    stage = stage_of(answer_all, topics=(IN,))

    def broken(_tools: object) -> None:
        raise LookupError("no configuration")

    process = rig.prepare(
        type(stage)(service=stage.service, topics=stage.topics, build=broken)  # type: ignore[arg-type]
    )
    with pytest.raises(LookupError):
        await process.until_ended()
    await process.kill()
