"""Records that kill their process are found one at a time; the others are served."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from services.shared.codec.records import decode_record
from services.shared.domain.events import CacheMissed, CrashSuspected, InferenceFinished
from services.shared.domain.topics import Topic
from services.shared.stream.slots import CRASHES_BEFORE_CAUTION
from services.shared.stream.stage import Stage
from services.shared.stream.suspects import CRASHES_TO_POISON
from services.shared.stream.work import Work
from tests.contract.stream.rig import (
    CHUNKS,
    IN,
    OUT,
    RESULTS,
    Rig,
    answer,
    number_of,
    stage_of,
)
from tests.support.pipeline import StageProcess

KILLER = 3
SUSPECTS = Topic.CRASH_SUSPECTS


class Mortal:
    """A processor that a certain record kills.

    Attributes:
        polls: The records of each call in the present process, by number.
        is_dying: It met the killer.
    """

    def __init__(self, *, killers: Sequence[int] = (KILLER,)) -> None:
        """Start alive."""
        self.polls: list[list[int]] = []
        self.is_dying = False
        self._killers = set(killers)

    async def __call__(self, works: Sequence[Work[Any]]) -> None:
        """Answer, until the killer comes."""
        numbers = [number_of(work.event) for work in works]
        self.polls.append(numbers)
        if self._killers & set(numbers):
            self.is_dying = True
            return  # whatever it would have done, the process is gone
        for work in works:
            if isinstance(work.event, CacheMissed):
                await work.emit(answer(work))
            work.finish()


async def _live_and_die(rig: Rig, slots: Path, mortal: Mortal, stage: Stage | None = None) -> None:
    """Start a process and kill it a moment after the killer is met."""
    mortal.is_dying = False
    mortal.polls.clear()
    process = await rig.start(stage or stage_of(mortal), slots=slots)
    await rig.until(lambda: mortal.is_dying)
    await rig.let_pass(0.1)
    await process.kill()


async def _suspects(rig: Rig) -> list[tuple[int, int] | None]:
    """What the topic says, in order: offset and crashes, or None for an acquittal."""
    return [
        None if raw.value is None else _accusation(decode_record(raw.value, CrashSuspected))
        for raw in await rig.backend.records(SUSPECTS)
    ]


def _accusation(suspected: CrashSuspected) -> tuple[int, int]:
    assert (suspected.topic, suspected.partition, suspected.group) == (IN, 0, "probe")
    return (suspected.offset, suspected.crashes)


async def test_a_killer_is_buried_and_everybody_else_is_served(rig: Rig, tmp_path: Path) -> None:
    """Some crashes make a loop; then records run alone; alone at three crashes is proof enough."""
    mortal = Mortal()
    for number in range(6):
        await rig.pipe(rig.miss(number, reply_partition=0 if number == KILLER else -1))
    for _ in range(CRASHES_BEFORE_CAUTION):
        await _live_and_die(rig, tmp_path, mortal)
        assert mortal.polls[0][-1] == 5, "in the beginning a poll is a poll"
    for _ in range(CRASHES_TO_POISON):
        await _live_and_die(rig, tmp_path, mortal)
        assert all(len(poll) == 1 for poll in mortal.polls)
    assert await rig.dead_letters() == []
    mortal.polls.clear()
    last = await rig.start(stage_of(mortal), slots=tmp_path)
    await rig.until_committed(6)
    [letter] = await rig.dead_letters()
    assert dict(letter.headers)["kafka_dlt-exception-fqcn"] == b"millrace.crash_loop"
    assert letter.key == b"request-00000003"
    assert set(await rig.numbers(OUT)) == {0, 1, 2, 4, 5}
    assert [KILLER] not in mortal.polls
    [ended] = await rig.events(RESULTS)
    assert isinstance(ended, InferenceFinished)
    assert (ended.outcome, ended.tenant) == ("failed", "acme")
    assert len(await rig.events(CHUNKS)) == 1
    await last.stop()


async def test_only_a_record_that_was_alone_at_a_crash_is_counted(rig: Rig, tmp_path: Path) -> None:
    """Every record that ran alone is accused before and acquitted after; its neighbours are not."""
    mortal = Mortal()
    await rig.pipe(*(rig.miss(number) for number in range(5)))
    for _ in range(CRASHES_BEFORE_CAUTION + 2):
        await _live_and_die(rig, tmp_path, mortal)
    alone = await _suspects(rig)
    assert (KILLER, 1) in alone
    assert alone[-1] == (KILLER, 2)
    assert {said[0] for said in alone if said} == {0, 1, 2, KILLER}
    assert alone.count(None) == sum(said is not None and said[0] != KILLER for said in alone)


async def test_afterwards_a_poll_is_a_poll_again(rig: Rig, tmp_path: Path) -> None:
    """Caution ends with the backlog; a later kill is no crash loop."""
    mortal = Mortal()
    await rig.pipe(*(rig.miss(number) for number in range(4)))
    for _ in range(CRASHES_BEFORE_CAUTION + CRASHES_TO_POISON):
        await _live_and_die(rig, tmp_path, mortal)
    process = await rig.start(stage_of(mortal), slots=tmp_path)
    await rig.until_committed(4)
    mortal.polls.clear()
    await process.kill()
    await rig.pipe(*(rig.miss(number) for number in range(10, 20)))
    await rig.start(stage_of(mortal), slots=tmp_path)
    await rig.until_committed(14)
    assert max(map(len, mortal.polls)) > 1
    assert (await _suspects(rig))[-1] is None


async def test_a_few_kills_are_no_crash_loop(rig: Rig, tmp_path: Path) -> None:
    """The uncommitted records of a process that was killed once or twice run together."""
    mortal = Mortal()
    await rig.pipe(*(rig.miss(number) for number in range(6)))
    for _ in range(CRASHES_BEFORE_CAUTION):
        await _live_and_die(rig, tmp_path, mortal)
        assert mortal.polls[0] == [0, 1, 2, 3, 4, 5]
    assert await _suspects(rig) == []


async def test_an_orderly_end_is_no_crash(rig: Rig, tmp_path: Path) -> None:
    """However often a process is stopped, its records run together."""
    mortal = Mortal(killers=())
    for i in range(4):
        process = await rig.start(stage_of(mortal), slots=tmp_path)
        await rig.pipe(rig.miss(i))
        await rig.until_committed(i + 1)
        await process.stop()
    assert await _suspects(rig) == []


async def test_holes_at_the_end_of_the_backlog_do_not_prolong_caution(
    rig: Rig, tmp_path: Path
) -> None:
    """What was never delivered need not be survived."""
    mortal = Mortal()
    await rig.pipe(*(rig.miss(number) for number in range(4)))
    transaction = await rig.backend.begin(IN)
    await transaction.append(b"aborted")
    await transaction.abort()
    for _ in range(CRASHES_BEFORE_CAUTION + CRASHES_TO_POISON):
        await _live_and_die(rig, tmp_path, mortal)
    mortal.polls.clear()
    process = await rig.start(stage_of(mortal), slots=tmp_path)
    await rig.until_committed(4)
    await rig.until(lambda: not process.runtime.is_cautious)
    await rig.pipe(*(rig.miss(number) for number in range(10, 30)))
    await rig.until_committed(26)


@pytest.mark.parametrize("stop", ["stop", "kill"])
async def test_a_cautious_process_may_be_ended_at_any_time(
    rig: Rig, tmp_path: Path, stop: str
) -> None:
    """Whoever comes next goes on; nothing is lost, and nobody is accused who finished."""
    mortal = Mortal()
    await rig.pipe(*(rig.miss(number) for number in range(4)))
    for _ in range(CRASHES_BEFORE_CAUTION):
        await _live_and_die(rig, tmp_path, mortal)
    process = await rig.start(stage_of(mortal), slots=tmp_path)
    await rig.until(lambda: [0] in mortal.polls)
    await _end(process, stop)
    healed = Mortal(killers=())
    await rig.start(stage_of(healed), slots=tmp_path)
    await rig.until_committed(4)
    assert set(await rig.numbers(OUT)) == {0, 1, 2, 3}
    assert await rig.dead_letters() == []


async def _end(process: StageProcess, how: str) -> None:
    ends: dict[str, Callable[[], Any]] = {"stop": process.stop, "kill": process.kill}
    await ends[how]()


async def test_other_lanes_wait_while_records_run_alone(rig: Rig, tmp_path: Path) -> None:
    """Alone means alone in the process: a record of another lane cannot be the culprit."""
    urgent, later = Topic.REQUEST_BATCHES_P0, Topic.REQUEST_BATCHES_P1
    mortal = Mortal()
    stage = stage_of(mortal, topics=(urgent, later))
    await rig.pipe(*(rig.batch(number) for number in (1, 2, KILLER)), topic=urgent)
    for _ in range(CRASHES_BEFORE_CAUTION):
        await _live_and_die(rig, tmp_path, mortal, stage)
    await rig.pipe(*(rig.batch(number) for number in range(10, 15)), topic=later)
    for _ in range(CRASHES_TO_POISON):
        await _live_and_die(rig, tmp_path, mortal, stage)
        assert all(len(poll) == 1 for poll in mortal.polls)
        assert mortal.polls[-1] == [KILLER], "nothing is taken beside it"
    await rig.start(stage, slots=tmp_path)
    await rig.until_committed(3, urgent, group="probe-p0")
    await rig.until_committed(5, later, group="probe-p1")
    assert len(await rig.dead_letters(urgent)) == 1
    assert await rig.dead_letters(later) == []
