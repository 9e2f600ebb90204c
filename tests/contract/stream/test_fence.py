"""A process that may have lost its partitions does not write."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from services.shared.domain.errors import MustStop
from services.shared.stream.client import Consumer
from services.shared.stream.work import Work
from tests.contract.stream.rig import OUT, Keeper, Rig, answer_all, stage_of
from tests.support.log_backend import MemoryBackend
from tests.support.pipeline import StageProcess

in_memory_only = pytest.mark.asyncio(loop_factories=["memory"])


def _consumer(process: StageProcess) -> Consumer:
    [loop] = process.runtime._loops
    return loop.consumer


async def test_a_forgotten_member_ends_without_another_write(rig: Rig) -> None:
    """Its records belong to somebody else by now."""
    keeper = Keeper()
    await rig.pipe(rig.miss(0))
    process = await rig.start(stage_of(keeper))
    await rig.until(lambda: 0 in keeper.open)
    await rig.backend.forget_member(_consumer(process))
    with pytest.raises(MustStop, match="does not know this member"):
        await process.until_ended()
    with pytest.raises(MustStop):
        await keeper.let_go(0)
    await process.kill()
    await asyncio.sleep(0.1)
    assert await rig.numbers(OUT) == []
    assert await rig.committed() == 0


async def test_an_idle_member_that_is_forgotten_ends_as_well(rig: Rig) -> None:
    """It learns it by its heartbeat, not by its next write."""
    process = await rig.start(stage_of(answer_all))
    await rig.backend.forget_member(_consumer(process))
    with pytest.raises(MustStop, match="does not know this member"):
        await process.until_ended()
    await process.kill()


async def test_of_two_processes_in_one_place_the_older_one_ends(rig: Rig, tmp_path: Path) -> None:
    """A lock lost with its disk does not make two writers."""
    keeper = Keeper()
    await rig.pipe(rig.miss(0))
    older = await rig.start(stage_of(keeper), slots=tmp_path / "a")
    await rig.until(lambda: 0 in keeper.open)
    await rig.start(stage_of(answer_all), slots=tmp_path / "b")
    with pytest.raises(MustStop):
        await older.until_ended()
    with pytest.raises(MustStop):
        await keeper.let_go(0)
    await older.kill()
    await rig.until_committed(1)
    assert await rig.numbers(OUT) == [0]


async def test_a_dead_broker_holds_writes_and_ends_nobody(mortal_rig: Rig) -> None:
    """When it is back, even after more than a session, everything goes on where it stood."""
    rig = mortal_rig
    keeper = Keeper()
    await rig.pipe(rig.miss(0))
    process = await rig.start(stage_of(keeper))
    await rig.until(lambda: 0 in keeper.open)
    async with rig.backend.restart():
        await asyncio.sleep(rig.backend.session_timeout_s * 1.3)
        write = asyncio.ensure_future(keeper.let_go(0))
        await asyncio.sleep(0.5)
        assert not write.done()
        assert not process.runtime.is_ready
        assert process.runtime.is_alive
    await rig.until(write.done)
    await rig.until(lambda: process.runtime.is_ready)
    await rig.until_committed(1)
    assert await rig.numbers(OUT) == [0]


@in_memory_only
async def test_a_silent_coordinator_holds_writes(rig: Rig) -> None:
    """While nobody confirms the membership nothing is written, though the log would take it."""
    cluster = cast("MemoryBackend", rig.backend).cluster
    keeper = Keeper()
    await rig.pipe(rig.miss(0))
    await rig.start(stage_of(keeper))
    await rig.until(lambda: 0 in keeper.open)
    cluster.is_coordinator_silent = True
    await asyncio.sleep(rig.backend.session_timeout_s * 1.1)
    write = asyncio.ensure_future(keeper.let_go(0))
    await asyncio.sleep(60)
    assert await rig.numbers(OUT) == []
    cluster.is_coordinator_silent = False
    await write
    await rig.until_committed(1)
    assert await rig.numbers(OUT) == [0]


@in_memory_only
async def test_a_process_that_stood_still_ends_without_another_write(rig: Rig) -> None:
    """Longer than a session is long enough for somebody else to have its partitions."""
    cluster = cast("MemoryBackend", rig.backend).cluster

    async def stand_still(works: Sequence[Work[Any]]) -> None:
        cluster.clock.advance(rig.backend.session_timeout_s * 1.01)  # SIGSTOP, SIGCONT
        await answer_all(works)

    await rig.pipe(rig.miss(0))
    process = rig.prepare(stage_of(stand_still))
    with pytest.raises(MustStop, match="stood still"):
        await process.until_ended()
    await process.kill()
    assert await rig.numbers(OUT) == []
    assert await rig.committed() == 0


@in_memory_only
async def test_a_shorter_stand_still_is_borne(rig: Rig) -> None:
    """Garbage collection and a busy machine end nobody."""
    cluster = cast("MemoryBackend", rig.backend).cluster

    async def stand_still(works: Sequence[Work[Any]]) -> None:
        cluster.clock.advance(rig.backend.session_timeout_s * 0.7)
        await answer_all(works)

    await rig.pipe(rig.miss(0))
    await rig.start(stage_of(stand_still))
    await rig.until_committed(1)


@in_memory_only
async def test_a_lost_acknowledgement_ends_the_process(rig: Rig) -> None:
    """Nobody knows whether the record was written: the next process reads its cause again."""
    cluster = cast("MemoryBackend", rig.backend).cluster
    cluster.acks_to_fail = 1
    await rig.pipe(rig.miss(0), rig.miss(1))
    process = rig.prepare(stage_of(answer_all))
    with pytest.raises(MustStop, match="routed-requests was not acknowledged"):
        await process.until_ended()
    await process.kill()
    assert await rig.committed() == 0
    await rig.start(stage_of(answer_all))
    await rig.until_committed(2)
    assert set(await rig.numbers(OUT)) == {0, 1}


@in_memory_only
async def test_nothing_is_committed_before_its_output_is_acknowledged(rig: Rig) -> None:
    """A kill in between repeats the record; it never loses it."""
    cluster = cast("MemoryBackend", rig.backend).cluster
    cluster.ack_delay_s = 5.0
    await rig.pipe(rig.miss(0))
    first = await rig.start(stage_of(answer_all))
    await rig.let_pass(4.5)
    assert await rig.committed() == 0
    assert first.runtime.in_flight == 1
    await first.kill()
    cluster.ack_delay_s = 0.0
    await rig.start(stage_of(answer_all))
    await rig.until_committed(1)
    assert await rig.numbers(OUT) == [0, 0]
