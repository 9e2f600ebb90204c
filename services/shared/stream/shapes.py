"""Shapes that a processor may have, brought to the one that the runtime knows.

- ``each``: a plain function, one record in, 0..n out (router).
- ``polled``: a coroutine that sees all records of a poll at once and answers for each, so that it
  can pipeline its I/O (cache lookup, cache writer).
- ``timed``: windows that close by time (batcher).

A processor that keeps records open for long (model caller) takes ``Work`` as it is.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar, cast

from services.shared.domain.emit import Emit
from services.shared.domain.errors import PoisonRecord
from services.shared.domain.events import Event
from services.shared.ports.clock import Clock
from services.shared.ports.work import OpenRecord
from services.shared.stream.loop import Process
from services.shared.stream.work import Work, emit_for

E = TypeVar("E", bound=Event)


def each(process: Callable[[E, float], Iterable[Emit]], *, clock: Clock) -> Process[E]:
    """Run a function ``(event, now_ms) -> emits`` on every record."""

    async def run(works: Sequence[Work[E]]) -> None:
        now_ms = clock.now_ms()
        for work in works:
            for emit in process(work.event, now_ms):
                await work.emit(emit)
            work.finish()

    return run


def polled(
    process: Callable[[Sequence[Work[E]], float], Awaitable[Sequence[Iterable[Emit]]]],
    *,
    clock: Clock,
) -> Process[E]:
    """Run a coroutine ``(works, now_ms) -> emits of each`` on all records of a poll."""

    async def run(works: Sequence[Work[E]]) -> None:
        answers = await process(works, clock.now_ms())
        if len(answers) != len(works):
            raise ValueError(f"{len(answers)} answers for {len(works)} records")
        for work, emits in zip(works, answers, strict=True):
            for emit in emits:
                await work.emit(emit)
            work.finish()

    return run


Closed = tuple[Sequence[OpenRecord[E]], Emit]
"""Records that leave together, and the one record that they become."""


class TimedProcessor(Protocol[E]):
    """Holds records back for a while; says itself when it wants to be woken."""

    def take(self, works: Sequence[OpenRecord[E]], *, now_ms: float) -> Iterable[Closed[E]]:
        """Take records; return what leaves at once."""
        ...

    def due_at_ms(self) -> float | None:
        """When ``on_due`` wants to be called, unix ms; None = never."""
        ...

    def on_due(self, *, now_ms: float) -> Iterable[Closed[E]]:
        """Return what leaves now."""
        ...


@asynccontextmanager
async def timed(processor: TimedProcessor[E], *, clock: Clock) -> AsyncIterator[Process[E]]:
    """Run a processor with a timer of its own."""
    changed = asyncio.Event()

    async def run(works: Sequence[Work[E]]) -> None:
        await _release(processor.take(works, now_ms=clock.now_ms()))
        changed.set()

    async def wake() -> None:
        while True:
            due_at_ms = processor.due_at_ms()
            changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(
                    None if due_at_ms is None else max(0.0, due_at_ms - clock.now_ms()) / 1000
                ):
                    await changed.wait()
            await _release(processor.on_due(now_ms=clock.now_ms()))

    async with asyncio.TaskGroup() as tasks:  # a timer that fails ends the process
        timer = tasks.create_task(wake())
        yield run
        timer.cancel()


async def _release(closed: Iterable[Closed[E]]) -> None:
    for records, emit in closed:
        works = cast("Sequence[Work[E]]", records)  # they are what `take` was given
        try:
            await emit_for(works, emit)
        except PoisonRecord as poison:  # together they are larger than the log takes
            for work in works:
                work.bury(poison)
        else:
            for work in works:
                work.finish()
