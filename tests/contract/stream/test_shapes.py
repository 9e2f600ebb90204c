"""The shapes that a processor may have."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from services.shared.domain.emit import Emit
from services.shared.domain.errors import Unavailable
from services.shared.domain.events import CacheMissed, RequestBatch, RequestRouted
from services.shared.domain.topics import Topic
from services.shared.ports.work import OpenRecord
from services.shared.stream.client import MAX_RECORD_BYTES
from services.shared.stream.lanes import PoolLimits
from services.shared.stream.loop import Process
from services.shared.stream.shapes import Closed, each, polled, timed
from services.shared.stream.stage import Stage, Tools
from services.shared.stream.work import Work
from tests.contract.stream.rig import GROUP, IN, OUT, RESULTS, Rig, answer, number_of
from tests.support.example_events import batch, finished, routed

BATCHES = Topic.REQUEST_BATCHES_P0


def built(make: Callable[[Tools], Any], *, topics: Sequence[Topic] = (IN,)) -> Stage:
    """A stage around what makes its process function."""

    @asynccontextmanager
    async def build(tools: Tools) -> AsyncIterator[Process[Any]]:
        process = make(tools)
        if hasattr(process, "__aenter__"):
            async with process as entered:
                yield entered
        else:
            yield process

    limits = PoolLimits(records=100, size_bytes=1_000_000_000)
    return Stage(service=GROUP, topics=topics, build=build, limits=limits)


async def test_each_answers_record_by_record(rig: Rig) -> None:
    """A plain function makes 0 to n records of one, and sees the time as an argument."""
    times = []

    def process(event: CacheMissed, now_ms: float) -> Iterable[Emit]:
        times.append(now_ms)
        for _ in range(number_of(event)):
            ended = finished(number_of(event))
            yield Emit(topic=RESULTS, key=ended.request_id, event=ended)

    await rig.pipe(*(rig.miss(i) for i in range(4)))
    await rig.start(built(lambda tools: each(process, clock=tools.clock)))
    await rig.until_committed(4)
    assert await rig.numbers(RESULTS) == [1, 2, 2, 3, 3, 3]
    assert all(abs(now_ms - rig.backend.clock.now_ms()) < 60_000 for now_ms in times)


async def test_polled_answers_a_poll_at_once(rig: Rig) -> None:
    """The records of a poll come together, so that their I/O can be one round trip."""
    polls: list[int] = []

    async def process(
        works: Sequence[Work[CacheMissed]], _now_ms: float
    ) -> Sequence[Iterable[Emit]]:
        polls.append(len(works))
        return [[answer(work)] for work in works]

    await rig.pipe(*(rig.miss(i) for i in range(30)))
    await rig.start(built(lambda tools: polled(process, clock=tools.clock)))
    await rig.until_committed(30)
    assert await rig.numbers(OUT) == list(range(30))
    assert sum(polls) == 30
    assert max(polls) > 1


async def test_polled_must_answer_for_every_record(rig: Rig) -> None:
    """A missing answer is an error of the processor, found record by record."""

    async def process(
        works: Sequence[Work[CacheMissed]], _now_ms: float
    ) -> Sequence[Iterable[Emit]]:
        return [[answer(work)] for work in works if number_of(work.event) != 1]

    await rig.pipe(*(rig.miss(i) for i in range(3)))
    await rig.start(built(lambda tools: polled(process, clock=tools.clock)))
    await rig.until_committed(3)
    assert set(await rig.numbers(OUT)) == {0, 1, 2} - {1}
    assert len(await rig.dead_letters()) == 1


class Gatherer:
    """A timed processor: closes a window after a while, or at so many records."""

    def __init__(self, *, window_ms: float = 50, most: int = 100) -> None:
        """Start without a window."""
        self.works: list[OpenRecord[RequestRouted]] = []
        self.closed_at_ms: list[float] = []
        self._window_ms = window_ms
        self._most = most
        self._due_at_ms: float | None = None

    def take(
        self, works: Sequence[OpenRecord[RequestRouted]], *, now_ms: float
    ) -> Iterable[Closed[RequestRouted]]:
        """Gather."""
        if self._due_at_ms is None:
            self._due_at_ms = now_ms + self._window_ms
        self.works += works
        return self._close(now_ms) if len(self.works) >= self._most else []

    def due_at_ms(self) -> float | None:
        """When the window closes."""
        return self._due_at_ms

    def on_due(self, *, now_ms: float) -> Iterable[Closed[RequestRouted]]:
        """Close it."""
        if self._due_at_ms is None or now_ms < self._due_at_ms:
            return []
        return self._close(now_ms)

    def _close(self, now_ms: float) -> list[Closed[RequestRouted]]:
        works, self.works, self._due_at_ms = self.works, [], None
        self.closed_at_ms.append(now_ms)
        event = batch(*(work.event for work in works), batch_id=f"batch-{works[0].partition}")
        emit = Emit(topic=BATCHES, key=event.batch_id, event=event)
        return [(works, emit)]


def _gathering(gatherer: Any) -> Stage:
    return built(lambda tools: timed(gatherer, clock=tools.clock), topics=(OUT,))


async def _pipe_routed(rig: Rig, *numbers: int, body: bytes = b"{}") -> None:
    await rig.pipe(
        *(routed(number, request=rig.request(number, body=body)) for number in numbers), topic=OUT
    )


async def test_timed_releases_a_window_when_its_time_has_come(rig: Rig) -> None:
    """Records stay open while they are gathered, and leave together in one record."""
    gatherer = Gatherer(window_ms=400)
    await rig.start(_gathering(gatherer))
    before_ms = rig.backend.clock.now_ms()
    await _pipe_routed(rig, 1, 2, 3)
    await rig.until(lambda: len(gatherer.works) == 3)
    assert await rig.committed(OUT) == 0
    await rig.until_committed(3, OUT)
    [gathered] = await rig.events(BATCHES)
    assert isinstance(gathered, RequestBatch)
    assert [number_of(member) for member in gathered.members] == [1, 2, 3]
    assert gatherer.closed_at_ms[0] - before_ms >= 400


async def test_timed_releases_at_once_what_is_full(rig: Rig) -> None:
    """A window that closes by count does not wait for its time."""
    gatherer = Gatherer(window_ms=3_600_000, most=2)
    await rig.start(_gathering(gatherer))
    await _pipe_routed(rig, 1, 2)
    await rig.until_committed(2, OUT)
    assert len(await rig.events(BATCHES)) == 1


async def test_timed_windows_are_released_before_a_stop(rig: Rig) -> None:
    """What is gathered leaves while the stage drains."""
    gatherer = Gatherer(window_ms=500)
    process = await rig.start(_gathering(gatherer))
    await _pipe_routed(rig, 1)
    await rig.until(lambda: bool(gatherer.works))
    await process.stop()
    assert await rig.committed(OUT) == 1
    assert len(await rig.events(BATCHES)) == 1


async def test_what_is_too_large_together_is_given_up_together(rig: Rig) -> None:
    """Each of its records is a dead letter, each of its requests ends, and the stage goes on."""
    gatherer = Gatherer(window_ms=3_600_000, most=2)
    await rig.start(_gathering(gatherer))
    await _pipe_routed(rig, 1, 2, body=b'"' + b"x" * (MAX_RECORD_BYTES * 6 // 10) + b'"')
    await rig.until_committed(2, OUT)
    assert len(await rig.dead_letters(OUT)) == 2
    assert sorted(await rig.numbers(RESULTS)) == [1, 2]
    await _pipe_routed(rig, 3, 4)
    await rig.until_committed(4, OUT)
    assert len(await rig.events(BATCHES)) == 1


async def test_a_timer_that_fails_ends_the_process(rig: Rig) -> None:
    """Otherwise windows would never close again."""

    class Broken(Gatherer):
        def on_due(self, *, now_ms: float) -> Iterable[Closed[RequestRouted]]:
            super().on_due(now_ms=now_ms)
            raise LookupError("no window")

    process = rig.prepare(_gathering(Broken(window_ms=10)))
    await _pipe_routed(rig, 1)
    with pytest.raises(ExceptionGroup) as ended:
        await process.until_ended()
    assert ended.group_contains(LookupError)
    await process.kill()
    assert await rig.committed(OUT) == 0


async def test_a_batch_keeps_the_partition_of_its_records(rig: Rig) -> None:
    """From `cache-misses` on a request stays on one partition, whatever the key of its batch."""
    await _pipe_routed(rig, 1)
    await rig.start(_gathering(Gatherer(window_ms=10)))
    await rig.until_committed(1, OUT)
    assert [raw.partition for raw in await rig.backend.records(BATCHES)] == [0]


async def test_a_polled_port_that_is_away_is_tried_again(rig: Rig) -> None:
    """``Unavailable`` out of a shape is back-pressure, as it is without one."""
    failures = 3

    async def process(
        works: Sequence[Work[CacheMissed]], _now_ms: float
    ) -> Sequence[Iterable[Emit]]:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise Unavailable("redis", "away")
        return [[answer(work)] for work in works]

    await rig.pipe(rig.miss(1))
    await rig.start(built(lambda tools: polled(process, clock=tools.clock)))
    await rig.until_committed(1)
    assert await rig.numbers(OUT) == [1]
