"""A port that is unavailable: wait, and the same records again."""

import asyncio
from collections.abc import Sequence
from itertools import pairwise

from services.shared.domain.errors import Unavailable
from services.shared.domain.events import CacheMissed, InferenceFinished, ResultChunk
from services.shared.stream.work import Work
from tests.contract.stream.rig import CHUNKS, OUT, RESULTS, Rig, answer_all, number_of, stage_of


class Moody:
    """A processor whose port comes and goes.

    Attributes:
        is_available: Whether the port answers.
        calls: The records of each call, by number.
    """

    def __init__(self, *, is_available: bool = False) -> None:
        """Start with the port as it is."""
        self.is_available = is_available
        self.calls: list[list[int]] = []

    async def __call__(self, works: Sequence[Work[CacheMissed]]) -> None:
        """Answer, or say that the port is away."""
        self.calls.append([number_of(work.event) for work in works])
        if not self.is_available:
            raise Unavailable("redis", "it is away")
        await answer_all(works)


async def test_the_same_records_are_tried_until_the_port_is_back(rig: Rig) -> None:
    """Nothing is committed, dropped or overtaken meanwhile."""
    moody = Moody()
    await rig.pipe(*(rig.miss(i) for i in range(5)))
    await rig.start(stage_of(moody))
    await rig.until(lambda: len(moody.calls) > 3)
    await rig.pipe(rig.miss(5))
    assert await rig.committed() == 0
    moody.is_available = True
    await rig.until_committed(6)
    assert await rig.numbers(OUT) == [0, 1, 2, 3, 4, 5]
    assert len({tuple(call) for call in moody.calls[:-1]}) == 1
    assert await rig.dead_letters() == []


async def test_retries_back_off(rig: Rig) -> None:
    """A port that is away is asked ever more rarely, at most every two seconds or so."""
    moody = Moody()
    await rig.pipe(rig.miss(0))
    await rig.start(stage_of(moody))
    await rig.until(lambda: bool(moody.calls))
    await rig.let_pass(2)
    assert 4 <= len(moody.calls) <= 8


async def test_waiting_for_a_port_keeps_the_membership(rig: Rig) -> None:
    """A wait longer than a session loses no partition and repeats no record."""
    moody = Moody()
    await rig.pipe(rig.miss(0))
    process = await rig.start(stage_of(moody))
    await rig.let_pass(rig.backend.session_timeout_s * 2)
    assert process.runtime.is_ready
    moody.is_available = True
    await rig.until_committed(1)
    assert await rig.numbers(OUT) == [0]


async def test_finished_records_are_not_tried_again(rig: Rig) -> None:
    """Only what is left of a poll comes again."""
    calls: list[list[int]] = []

    async def process(works: Sequence[Work[CacheMissed]]) -> None:
        calls.append([number_of(work.event) for work in works])
        await answer_all(works[:1])
        if len(works) > 1:
            raise Unavailable("redis", "it is away again")

    await rig.pipe(*(rig.miss(i) for i in range(3)))
    await rig.start(stage_of(process))
    await rig.until_committed(3)
    assert await rig.numbers(OUT) == [0, 1, 2]
    assert calls[-1] == [2]
    assert all(len(later) < len(call) for call, later in pairwise(calls))


async def test_a_request_that_expires_while_it_waits_is_ended(rig: Rig) -> None:
    """It gets its terminal record when its time is up; the others go on."""
    moody = Moody()
    now = int(rig.backend.clock.now_ms())
    await rig.pipe(rig.miss(0, deadline_at=now + 500, reply_partition=0), rig.miss(1))
    await rig.start(stage_of(moody))
    await rig.until(lambda: moody.calls[-1:] == [[1]])
    moody.is_available = True
    await rig.until_committed(2)
    assert await rig.numbers(OUT) == [1]
    [ended] = await rig.events(RESULTS)
    assert isinstance(ended, InferenceFinished)
    assert (ended.outcome, ended.request_id) == ("expired", "request-00000000")
    assert ended.finished_at >= now + 500
    [chunk] = await rig.events(CHUNKS)
    assert isinstance(chunk, ResultChunk)
    assert (chunk.kind, chunk.status) == ("error", 504)


async def test_a_request_that_is_met_after_its_deadline_is_not_processed(rig: Rig) -> None:
    """It costs nothing and ends as expired; a deadline of 0 is none."""
    now = int(rig.backend.clock.now_ms())
    moody = Moody(is_available=True)
    await rig.pipe(rig.miss(0, deadline_at=now - 1), rig.miss(1, deadline_at=0))
    await rig.start(stage_of(moody))
    await rig.until_committed(2)
    assert moody.calls == [[1]]
    [ended] = await rig.events(RESULTS)
    assert isinstance(ended, InferenceFinished)
    assert ended.outcome == "expired"
    assert [hop.service for hop in ended.hops] == ["cache-lookup", "probe"]


async def test_a_stop_does_not_wait_for_a_port(rig: Rig) -> None:
    """The records stay uncommitted, for the next process."""
    moody = Moody()
    await rig.pipe(*(rig.miss(i) for i in range(3)))
    process = await rig.start(stage_of(moody))
    await rig.until(lambda: bool(moody.calls))
    async with asyncio.timeout(3):
        await process.stop()
    assert await rig.committed() == 0
    moody.is_available = True
    await rig.start(stage_of(moody))
    await rig.until_committed(3)
    assert await rig.numbers(OUT) == [0, 1, 2]
