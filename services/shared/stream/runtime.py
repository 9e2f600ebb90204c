"""Runs one stage over one log, from its first connection to a clean end."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

from prometheus_client import CollectorRegistry

from services.shared.domain.errors import MustStop
from services.shared.ports.clock import Clock
from services.shared.stream.assignments import AssignmentWatcher
from services.shared.stream.client import Log, TopicPartition
from services.shared.stream.connecting import connected_producer, until_available
from services.shared.stream.lanes import SlotPool
from services.shared.stream.loop import ConsumerLoop, Process, Shared
from services.shared.stream.outbox import Fence, Outbox
from services.shared.stream.slots import Slot
from services.shared.stream.stage import Stage, Tools, sources_of
from services.shared.stream.suspects import Caution, Suspects, read_suspects
from services.shared.telemetry.metrics import StageMetrics

_LOG = logging.getLogger(__name__)
_TICK_S = 0.5
_UNCONFIRMED_RATIO = 0.45  # of a session; heartbeats come four times in one
_STUCK_S = 5.0
_LEAVE_S = 1.0


class Runtime:
    """One stage over one log; ``run_stage`` gives it a process, tests give it a fake clock.

    Attributes:
        stopping: Set it to end ``run``.
        metrics: What is measured.
        on_running: Called once it has joined its groups.
    """

    def __init__(
        self, *, stage: Stage, log: Log, clock: Clock, slot: Slot | None, session_timeout_s: float
    ) -> None:
        """Prepare; ``run`` does the rest."""
        self.stopping = asyncio.Event()
        self.metrics = StageMetrics(CollectorRegistry())
        self.on_running: Callable[[], object] = _nothing
        self._stage = stage
        self._log = log
        self._clock = clock
        self._slot = slot
        self._session_timeout_s = session_timeout_s
        self._fence = Fence(clock=clock, session_timeout_s=session_timeout_s)
        self._fatal: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._loops: list[ConsumerLoop[Any]] = []
        self._pool = SlotPool(limits=stage.limits, lanes=len(stage.topics))
        self.metrics.observe(in_flight=lambda: self.in_flight, lag=self.lag)
        self._is_running = False
        self._caution: Caution | None = None
        self._watcher: AssignmentWatcher | None = None
        self.parts: dict[str, Callable[[], str]] = {}

    async def run(self) -> None:
        """Work until ``stopping`` is set and open records are finished.

        Raises:
            MustStop: The process may not go on and must not write any more.
        """
        async with AsyncExitStack() as stack:
            stack.callback(self._fatal.cancel)  # nobody hears what comes later
            ticker = asyncio.create_task(self._tick())
            stack.push_async_callback(_cancel, ticker)
            producer = await connected_producer(self._log, stop=self.stopping)
            if producer is None:
                return
            stack.push_async_callback(producer.stop)
            stack.callback(self._fence.shut, MustStop("the process is ending"))
            outbox = Outbox(
                service=self._stage.service,
                producer=producer,
                clock=self._clock,
                fence=self._fence,
                on_fatal=self._give_up,
            )
            tools = self._tools(outbox)
            process = await stack.enter_async_context(self._stage.build(tools))
            if await self._join(outbox, process, stack):
                self._is_running = True
                self.on_running()
                await self._until_stopped(ticker)
                self._is_running = False
            await self._leave()

    def _tools(self, outbox: Outbox) -> Tools:
        return Tools(
            clock=self._clock,
            registry=self.metrics.registry,
            log=self._log,
            outbox=outbox,
            hold_lane=self.hold_lane,
            watch=self._watch,
            slot=None if self._slot is None else self._slot.name,
            tell=self.parts.__setitem__,
        )

    def _watch(self, watcher: AssignmentWatcher) -> None:
        self._watcher = watcher

    @property
    def is_alive(self) -> bool:
        """Whether the event loop still turns."""
        return self._fence.silence_s < _STUCK_S

    @property
    def is_ready(self) -> bool:
        """Whether it works: it is in its groups, as their coordinator says, and not stuck."""
        unconfirmed_s = self._session_timeout_s * _UNCONFIRMED_RATIO
        now_s = self._clock.monotonic_s()
        return self._is_running and all(
            now_s - loop.consumer.membership.confirmed_at_s < unconfirmed_s and not loop.is_stuck
            for loop in self._loops
        )

    async def _join(self, outbox: Outbox, process: Process[Any], stack: AsyncExitStack) -> bool:
        """Join the groups of all topics; whether that came to an end before a stop."""
        caution = self._caution = await self._begin_caution(outbox)
        shared = Shared(
            outbox=outbox,
            pool=self._pool,
            metrics=self.metrics,
            caution=caution,
            watcher=self._watcher,
        )
        for source in sources_of(self._stage):
            instance = None if self._slot is None else f"{self._slot.name}-p{source.lane}"
            consumer = self._log.consumer(
                topic=source.topic, group=source.group, instance_id=instance
            )
            loop: ConsumerLoop[Any] = ConsumerLoop(
                source=source, consumer=consumer, process=process, shared=shared
            )
            stack.push_async_callback(loop.abort)
            self._loops.append(loop)
        # All at once: whoever waits for a process that comes back waits for the slowest group only.
        await asyncio.gather(
            *(until_available(loop.start, stop=self.stopping) for loop in self._loops)
        )
        for loop in self._loops:
            self._fence.watch(loop.consumer.membership)
        if caution is not None:
            caution.end_if_survived()
        return not self.stopping.is_set()

    async def _begin_caution(self, outbox: Outbox) -> Caution | None:
        slot, service = self._slot, self._stage.service
        if slot is None or not slot.is_crash_loop:
            return None
        _LOG.warning("records run one at a time after %d crashes", slot.crashes)
        crashes = await until_available(
            lambda: read_suspects(self._log, service=service), stop=self.stopping
        )
        suspects = Suspects(service=service, outbox=outbox, crashes=crashes or {})
        return Caution(suspects, on_over=lambda: slot.calm(now_ms=self._clock.now_ms()))

    async def _until_stopped(self, ticker: "asyncio.Task[None]") -> None:
        """Run all loops until told to stop, then for as long as open records may take."""
        runs = [asyncio.create_task(loop.run()) for loop in self._loops]
        told = asyncio.create_task(self.stopping.wait())
        drained = asyncio.create_task(self._drained(runs))
        try:
            await _first_of(self._fatal, ticker, told, *runs)
            for loop in self._loops:
                loop.stop_soon()
            await _first_of(self._fatal, ticker, drained, timeout_s=self._stage.drain_s)
            if not drained.done():
                left = sum(loop.open_count for loop in self._loops)
                _LOG.warning("leaving records in work", extra={"open": left})
        finally:
            for task in (told, drained, *runs):
                await _cancel(task)

    async def _drained(self, runs: Sequence["asyncio.Task[None]"]) -> None:
        await asyncio.gather(*runs)
        if self._stage.leaves_first and self.stopping.is_set():
            await asyncio.gather(*(self._leave_first(loop) for loop in self._loops))
            if self._watcher is not None:
                await self._watcher.at_rest()
                await _within(_LEAVE_S, self._emptied())
                return
        await self._emptied()

    async def _emptied(self) -> None:
        for loop in self._loops:
            await loop.drained()

    async def _leave_first(self, loop: ConsumerLoop[Any]) -> None:
        """Leave a group while its records are in work: leaving is not losing."""
        await loop.leave(lambda: self._fence.forget(loop.consumer.membership))

    async def _leave(self) -> None:
        """Commit and leave the groups, in bounded time: a broker may be away."""
        await _within(_LEAVE_S, asyncio.gather(*(loop.stop() for loop in self._loops)))

    async def _tick(self) -> None:
        while True:
            self._fence.tick()
            await asyncio.sleep(_TICK_S)

    def _give_up(self, why: Exception) -> None:
        if not self._fatal.done():
            self._fatal.set_exception(why)

    @property
    def is_cautious(self) -> bool:
        """Whether records run one at a time, after a crash loop."""
        return self._caution is not None and not self._caution.is_over.is_set()

    def hold_lane(self, lane: int, is_held: bool) -> None:  # noqa: FBT001  # the one fact
        """Pause or resume a lane, e.g. a low priority while topics downstream are long."""
        for loop in self._loops:
            if loop.lane == lane:
                loop.hold(is_held=is_held)

    def assignment(self) -> frozenset[TopicPartition]:
        """Partitions that it owns now."""
        return frozenset().union(*(loop.consumer.assignment() for loop in self._loops))

    @property
    def in_flight(self) -> int:
        """Records in work."""
        return self._pool.in_use

    def lag(self) -> Mapping[tuple[str, str], float]:
        """Records not yet taken, by topic and partition."""
        return {
            (partition.topic, str(partition.partition)): float(lag)
            for loop in self._loops
            for partition, lag in loop.consumer.lag().items()
        }


def _nothing() -> None:
    """What nobody asked for."""


async def _first_of(*awaited: "asyncio.Future[Any]", timeout_s: float | None = None) -> None:
    """Wait until one of these ends; raises what one of them raised, the first one first."""
    done, _ = await asyncio.wait(awaited, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    for future in awaited:
        if future in done:
            future.result()


async def _within(seconds: float, awaited: Awaitable[object]) -> None:
    """Wait for something, but not longer."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await awaited


async def _cancel(task: "asyncio.Task[Any]") -> None:
    """Cancel a task and wait for it; what it raised was told by ``_first_of`` or comes too late."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
