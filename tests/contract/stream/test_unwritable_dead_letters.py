"""A dead-letter topic that takes no records: the stage waits with the record, and loses nothing."""

from tests.contract.stream.rig import DLQ, IN, OUT, Rig, answer_all, stage_of
from tests.support.pipeline import StageProcess

_POISON = b"no record"


async def test_a_stage_whose_dead_letters_cannot_be_written_stops_and_says_so(rig: Rig) -> None:
    """Nothing from the poison record on is committed, nothing more is taken, it is not ready.

    Once the topic takes records again, all is done, each once.
    """
    process = await rig.start(stage_of(answer_all))
    async with rig.backend.refusing(DLQ):
        await rig.pipe(rig.miss(1))
        await rig.until_committed(1)
        await rig.pipe_raw(_POISON, key=b"k")
        await rig.until(lambda: process.runtime.in_flight == 1)
        await rig.pipe(rig.miss(2))
        await rig.until(lambda: not process.runtime.is_ready)
        assert process.runtime.is_alive
        assert await rig.committed() == 1
        assert await rig.numbers(OUT) == [1]
    await rig.until_committed(3)
    await rig.until(lambda: process.runtime.is_ready)
    assert await rig.numbers(OUT) == [1, 2]
    assert len(await rig.dead_letters()) == 1


async def test_a_stage_that_ends_meanwhile_leaves_the_record_to_the_next(rig: Rig) -> None:
    """A stop does not wait for ever, and the poison record is read again."""
    stage = stage_of(answer_all, drain_s=1.0)
    process = await rig.start(stage)
    async with rig.backend.refusing(DLQ):
        await rig.pipe_raw(_POISON, key=b"k")
        await rig.until(lambda: process.runtime.in_flight == 1)
        await process.stop()
        assert await rig.committed(IN) == 0
    await rig.start(stage)
    await rig.until_committed(1)
    assert len(await rig.dead_letters()) >= 1  # the first process may have sent it, unheard


async def test_poison_at_the_speed_of_the_log_does_not_look_like_that(rig: Rig) -> None:
    """A stage that gives records up, one after the other, stays ready."""
    process = await rig.start(stage_of(answer_all))
    for number in range(1, 9):
        await rig.pipe_raw(_POISON, key=b"k")
        await rig.until_committed(number)
        assert _is_ready(process)


def _is_ready(process: StageProcess) -> bool:
    return process.runtime.is_ready
