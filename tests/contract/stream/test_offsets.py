"""What may be committed, and when: nothing before all that a record caused is durable."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any

from services.shared.domain.events import CacheMissed
from services.shared.stream.work import Work
from tests.contract.stream.rig import IN, OUT, Keeper, Rig, answer_all, number_of, stage_of

_MANY = 3000


async def test_every_record_is_answered_and_committed(rig: Rig) -> None:
    """Outputs come in order, one each; then the group stands behind the last record."""
    await rig.pipe(*(rig.miss(i) for i in range(20)))
    await rig.start(stage_of(answer_all))
    await rig.until_committed(20)
    assert await rig.numbers(OUT) == list(range(20))


async def test_thousands_finish_in_any_order_and_commits_stay_contiguous(rig: Rig) -> None:
    """All are in flight at once; a commit never passes a record that is still open."""
    keeper = Keeper()
    await rig.start(stage_of(keeper, records=_MANY))
    await asyncio.gather(*(rig.pipe(rig.miss(i)) for i in range(_MANY)))
    await rig.until(lambda: len(keeper.open) == _MANY)
    by_offset = {work.offset: number for number, work in keeper.open.items()}
    order = list(range(_MANY))
    random.Random(1).shuffle(order)
    for done in range(0, _MANY, 500):
        await keeper.let_go(*(by_offset[offset] for offset in order[done : done + 500]))
        await rig.let_pass(0.3)
        lowest_open = min(order[done + 500 :], default=_MANY)
        assert await rig.committed() <= lowest_open
    await rig.until_committed(_MANY)
    assert sorted(await rig.numbers(OUT)) == list(range(_MANY))


async def test_a_slow_record_at_the_head_does_not_stop_the_others(rig: Rig) -> None:
    """They are answered meanwhile; only the commits wait for it."""
    release = asyncio.Event()

    async def slow_zero(work: Work[CacheMissed]) -> None:
        await release.wait()
        await answer_all([work])

    tasks = []

    async def process(works: Sequence[Work[CacheMissed]]) -> None:
        for work in works:
            if number_of(work.event) == 0:
                tasks.append(asyncio.ensure_future(slow_zero(work)))
            else:
                await answer_all([work])

    await rig.pipe(*(rig.miss(i) for i in range(100)))
    await rig.start(stage_of(process))
    await rig.until(lambda: _has(rig, 99))
    await rig.let_pass(10 if rig.backend.clock.monotonic_s() < 1000 else 1)
    assert await rig.numbers(OUT) == list(range(1, 100))
    assert await rig.committed() == 0
    release.set()
    await rig.until_committed(100)
    assert sorted(await rig.numbers(OUT)) == list(range(100))
    await asyncio.gather(*tasks)


async def _has(rig: Rig, count: int) -> bool:
    return len(await rig.numbers(OUT)) == count


async def test_holes_in_the_log_do_not_stop_commits(rig: Rig) -> None:
    """Offsets of aborted records and markers were never delivered, and nobody waits for them."""
    await rig.pipe(rig.miss(0))
    for ending in range(2):
        transaction = await rig.backend.begin(IN)
        await transaction.append(b"aborted %d" % ending)
        await transaction.abort()
    await rig.pipe(rig.miss(1))
    await rig.start(stage_of(answer_all))
    await rig.until_committed(6)
    assert await rig.numbers(OUT) == [0, 1]
    assert await rig.dead_letters() == []


async def test_records_in_work_are_bounded_in_number(rig: Rig) -> None:
    """A full pool takes no more; what is finished makes room."""
    keeper = Keeper()
    await rig.pipe(*(rig.miss(i) for i in range(50)))
    await rig.start(stage_of(keeper, records=10))
    for done in range(0, 50, 10):
        await rig.until(lambda: len(keeper.open) == 10)
        await rig.let_pass(0.1)
        assert len(keeper.open) == 10
        await keeper.let_go(*range(done, done + 10))
    await rig.until_committed(50)
    assert keeper.most == 10
    assert keeper.seen == list(range(50))


async def test_records_in_work_are_bounded_in_bytes(rig: Rig) -> None:
    """No record is taken once the limit is reached, so one record at most lies above it."""
    keeper = Keeper()
    body = b'{"prompt":"' + b"x" * 10_000 + b'"}'
    await rig.pipe(*(rig.miss(i, body=body) for i in range(10)))
    await rig.pipe(rig.miss(10, body=b'"' + b"x" * 100_000 + b'"'), rig.miss(11))
    await rig.start(stage_of(keeper, size_bytes=30_000))
    while len(keeper.seen) < 12 or keeper.open:
        await rig.until(lambda: bool(keeper.open))
        await keeper.let_go(*list(keeper.open))
        await rig.let_pass(0.01)
    await rig.until_committed(12)
    assert keeper.seen == list(range(12))
    assert keeper.most_bytes < 30_000 + 110_000
    assert keeper.most <= 3


async def test_an_open_record_is_read_again_by_the_next_process(rig: Rig) -> None:
    """A kill loses no record: what was not committed is delivered again, with what followed it."""
    keeper = Keeper()
    await rig.pipe(*(rig.miss(i) for i in range(6)))
    first = await rig.start(stage_of(keeper))
    await rig.until(lambda: len(keeper.open) == 6)
    await keeper.let_go(0, 1, 3)
    await rig.until_committed(2)
    await first.kill()
    again: list[int] = []

    async def process(works: Sequence[Work[Any]]) -> None:
        again.extend(number_of(work.event) for work in works)
        await answer_all(works)

    await rig.start(stage_of(process))
    await rig.until_committed(6)
    assert again == [2, 3, 4, 5]


async def test_a_record_from_a_truncated_log_may_still_finish(rig: Rig) -> None:
    """A position that fell out of the log is no reason to forget what is in work."""
    keeper = Keeper()
    await rig.pipe(*(rig.miss(i) for i in range(3)))
    await rig.start(stage_of(keeper, records=3))
    await rig.until(lambda: len(keeper.open) == 3)
    await rig.pipe(*(rig.miss(i) for i in range(3, 8)))
    await rig.backend.truncate(IN, before=6)
    await keeper.let_go(0, 1, 2)
    await rig.until(lambda: keeper.seen[3:] == [6, 7])
    await keeper.let_go(6, 7)
    await rig.until_committed(8)
    assert await rig.numbers(OUT) == [0, 1, 2, 6, 7]
