"""Lets identical requests share one call: what is done about the decisions of ``flights.py``."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Container, Iterable, Sequence, Set

from prometheus_client import CollectorRegistry

from services.cache_lookup.consequences import Share, consequence
from services.cache_lookup.decide import BYPASS, MISS, is_expired
from services.cache_lookup.emits import (
    Hops,
    cancelled,
    expired,
    joined_chunk,
    passed_on,
    shared,
)
from services.cache_lookup.ends import Ends
from services.cache_lookup.flights import Flight, Flights, Joiner, in_order
from services.cache_lookup.metrics import JoinMetrics
from services.cache_lookup.needs import Needs
from services.shared.codec.records import decode_record
from services.shared.domain.emit import Emit
from services.shared.domain.errors import PoisonRecord
from services.shared.domain.events import (
    CacheMissed,
    CacheOutcome,
    ControlRequested,
    InferenceFinished,
    InferenceRequested,
    Outcome,
)
from services.shared.domain.ids import NO_REPLY
from services.shared.domain.terminal import has_answer
from services.shared.ports.clock import Clock
from services.shared.ports.work import OpenRecord

_LOG = logging.getLogger(__name__)
_TEND_EVERY_S = 0.25
_INFORMED_WITHIN_S = 1.0
_MOST_OVER = 100_000
_BREATH = 32
"""Joiners that are ended before others get their turn."""

Requested = OpenRecord[InferenceRequested]
Waiting = Joiner[Requested]


class Joining:
    """The flights of a process.

    Attributes:
        is_anybody_waiting: Set while a request waits for another.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        registry: CollectorRegistry,
        holder: str = "",
        flights: Flights[Requested] | None = None,
    ) -> None:
        """Know of no flights, or of those that are given.

        Args:
            clock: The time.
            registry: Where metrics go.
            holder: Name of the process, the same after a restart; calls are held in its name.
            flights: The flights.
        """
        self.is_anybody_waiting = asyncio.Event()
        self._clock = clock
        self._began_ms = clock.now_ms()
        self._needs = Needs(clock=clock, holder=holder)
        self._is_news = asyncio.Event()
        self._over: set[bytes] = set()
        self._is_informed = asyncio.Event()
        self._flights: Flights[Requested] = Flights() if flights is None else flights
        self._metrics = JoinMetrics(registry, waiting=self._waiting_count)
        self._ends = Ends(clock=clock, metrics=self._metrics)

    # -- requests --------------------------------------------------------------------------------

    def assigned(self) -> None:
        """Partitions have come: their first records may have been in work elsewhere."""
        self._began_ms = self._clock.now_ms()
        self._is_informed.clear()

    async def informed(self, records: Sequence[Requested]) -> None:
        """Wait a moment for word of leaders of before, where records of before are at hand.

        They were in work when an earlier process ended; to lead without need would cost a call.
        """
        if self._is_informed.is_set() or all(it.timestamp_ms >= self._began_ms for it in records):
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_INFORMED_WITHIN_S):
                await self._is_informed.wait()
        self._is_informed.set()

    def has_ended(self, record: Requested, request: InferenceRequested) -> bool:
        """Whether a record of before is met again though its request has its end."""
        return record.timestamp_ms < self._began_ms and request.request_id.encode() in self._over

    def place(
        self,
        record: Requested,
        request: InferenceRequested,
        *,
        bypasses: bool,
        is_retry: bool,
        hops: Hops,
    ) -> Waiting | Iterable[Emit] | None:
        """Decide about a request that the cache has no answer for.

        Args:
            record: Its record.
            request: What it says.
            bypasses: The cache was not asked.
            is_retry: Its client repeats what he gave up waiting for.
            hops: Stages that it passed.

        Returns:
            Who waits now, the records of an answer that has just come, or None: it has to lead.
        """
        waits_for = self._flights.joined.get(request.request_id)
        if waits_for is not None:
            waiting = waits_for.joiners[request.request_id]
            if waiting.record is record:  # its poll is processed again
                return waiting
        now_ms = self._clock.now_ms()
        found = self._find(request, bypasses=bypasses, is_retry=is_retry, now_ms=now_ms)
        if found is None:
            self._lead(request, bypasses=bypasses, now_ms=now_ms)
            return None
        flight, answer = found
        if self._needs.is_given_up(request):
            self._metrics.note(Outcome.CANCELLED)
            return cancelled(request, flight.leader_id, hops=hops, now_ms=now_ms)
        if answer is not None:
            self._metrics.note(Outcome.COMPLETED)
            return shared(request, answer, follows=False, hops=hops, now_ms=now_ms)
        joiner = Joiner(request, record, hops, bypasses, len(record.value))
        self._join(flight, joiner)
        return joiner

    async def announce(self, joiner: Waiting) -> None:
        """Say that a request has joined another: to its client, and to whoever serves that one."""
        request = joiner.request
        flight = self._flights.joined.get(request.request_id)
        if flight is None:
            return
        emits = self._needs.held(flight, joiner)
        if request.reply_partition != NO_REPLY:
            emits.append(joined_chunk(request, flight.leader_id, follows=joiner.follows))
        for emit in emits:
            await joiner.record.emit(emit)

    # -- what is wanted of requests --------------------------------------------------------------

    def hear(self, control: ControlRequested) -> None:
        """Take what somebody wants of a request: joiners end soon, nobody joins a lost leader."""
        self._needs.hear(control)
        flight = self._flights.leaders.get(control.request_id.encode())
        if flight is None:
            if control.request_id in self._flights.joined:
                self._is_news.set()
        elif self._is_lost(flight):
            self._flights.forget(flight)

    # -- what becomes of leaders -----------------------------------------------------------------

    @property
    def leaders(self) -> Container[bytes]:
        """Keys of the terminal records that ``ended`` wants to see."""
        return self._flights.leaders

    async def ended(self, key: bytes, value: bytes) -> None:
        """Take a terminal record.

        Args:
            key: Its key, one of ``leaders``.
            value: Its value.
        """
        flight = self._flights.leaders.get(key)
        if flight is None or flight.landed:
            return
        finished = _decoded(value) if flight.joiners else None
        if flight.joiners and finished is None:
            _LOG.error("the end of a request that others wait for cannot be read")
            return
        joiners = self._flights.land(flight, value=value, now_ms=self._clock.now_ms())
        self._review()
        if finished is not None:
            await self._dismiss(joiners, flight, finished)

    def over(self, keys: Set[bytes]) -> None:
        """Take what has ended of what may come again."""
        if len(self._over) > _MOST_OVER:
            self._over.clear()
        self._over |= keys

    def found(self, missed: Iterable[CacheMissed]) -> None:
        """Take requests that were on their way to a model before this process knew of them."""
        now_ms = self._clock.now_ms()
        for miss in missed:
            if not is_expired(miss.request, now_ms=now_ms):
                bypasses = miss.cache.outcome == CacheOutcome.BYPASS
                self._lead(miss.request, bypasses=bypasses, now_ms=now_ms)
        self._is_informed.set()

    async def tend(self) -> None:
        """Keep deadlines and forget what is over, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TEND_EVERY_S):
                    await self._is_news.wait()
            self._is_news.clear()
            await self.tidy()

    async def tidy(self) -> None:
        """End joiners that are given up or too late; give up flights whose end never came."""
        now_ms = self._clock.now_ms()
        for joiner in self._flights.waiting():
            if self._needs.is_given_up(joiner.request):
                await self._take_out(joiner, cancelled, Outcome.CANCELLED)
            elif is_expired(joiner.request, now_ms=now_ms):
                await self._take_out(joiner, expired, Outcome.EXPIRED)
        for flight in self._flights.overdue(now_ms):
            if joiners := self._flights.forget(flight):
                _LOG.warning("a request never ended; those that wait for it go on without it")
                await self._run_again(joiners, reruns=flight.reruns + 1)
        self._review()

    # -- endings ---------------------------------------------------------------------------------

    async def _dismiss(
        self, joiners: Sequence[Waiting], flight: Flight[Requested], finished: InferenceFinished
    ) -> None:
        again = []
        for number, joiner in enumerate(joiners, start=1):
            result = consequence(joiner, flight, finished)
            if result is Share.ANSWER:
                await self._ends.share(joiner, finished)
            elif result is Share.RUN_AGAIN:
                again.append(joiner)
            else:
                await self._ends.refuse(joiner, result, flight.leader_id)
            if number % _BREATH == 0:
                await asyncio.sleep(0)
        was_failure = finished.outcome == Outcome.FAILED
        await self._run_again(again, reruns=flight.reruns + was_failure)

    async def _run_again(self, joiners: Sequence[Waiting], *, reruns: int) -> None:
        """Let one of them lead and the others join it."""
        for joiner in in_order(joiners):
            request, bypasses = joiner.request, joiner.bypasses
            joiner.follows = False
            now_ms = self._clock.now_ms()
            found = self._find(request, bypasses=bypasses, is_retry=bypasses, now_ms=now_ms)
            if found is None:
                self._lead(request, bypasses=bypasses, now_ms=now_ms, reruns=reruns)
                evidence = (BYPASS if bypasses else MISS).evidence
                emit = passed_on(request, evidence, hops=joiner.hops)
                await self._ends.write(joiner, (emit,), "run_again")
            elif found[1] is not None:
                await self._ends.share(joiner, found[1])
            else:
                self._join(found[0], joiner)
                await self.announce(joiner)

    async def _take_out(
        self, joiner: Waiting, how: Callable[..., Iterable[Emit]], outcome: Outcome
    ) -> None:
        """End a joiner before its leader; the last one takes the need of that call with it."""
        request, now_ms = joiner.request, self._clock.now_ms()
        flight = self._flights.joined.get(request.request_id)
        if flight is None:  # its leader has ended while others were told
            return
        self._flights.leave(request.request_id)
        emits = [
            *self._needs.released(flight, joiner),
            *how(request, flight.leader_id, hops=joiner.hops, now_ms=now_ms),
        ]
        if self._needs.is_left_alone(flight):
            self._flights.forget(flight)
        await self._ends.write(joiner, emits, outcome)

    # -- flights ---------------------------------------------------------------------------------

    def _find(
        self, request: InferenceRequested, *, bypasses: bool, is_retry: bool, now_ms: float
    ) -> tuple[Flight[Requested], InferenceFinished | None] | None:
        """A flight that a request may join, and its answer where that has just come."""
        while True:
            flight = self._flights.find(
                request, bypasses=bypasses, is_retry=is_retry, now_ms=now_ms
            )
            if flight is None or not flight.landed:
                return None if flight is None else (flight, None)
            finished = _decoded(flight.landed)
            if finished is not None and has_answer(finished):
                return flight, finished
            self._flights.forget(flight)

    def _lead(
        self, request: InferenceRequested, *, bypasses: bool, now_ms: float, reruns: int = 0
    ) -> None:
        """Note a leader that others may join: not one whose call is about to be stopped."""
        if not self._needs.has_lost_its_call(request.request_id, request.tenant):
            self._flights.lead(request, bypasses=bypasses, now_ms=now_ms, reruns=reruns)

    def _is_lost(self, flight: Flight[Requested]) -> bool:
        """Whether nobody may join a leader any more; those that have done so keep its call."""
        is_open = not flight.joiners and not flight.landed
        return is_open and self._needs.has_lost_its_call(flight.leader_id, flight.tenant)

    def _join(self, flight: Flight[Requested], joiner: Waiting) -> None:
        self._flights.join(flight, joiner)
        self.is_anybody_waiting.set()

    def _waiting_count(self) -> int:
        return len(self._flights.joined)

    def _review(self) -> None:
        if not self._flights.joined:
            self.is_anybody_waiting.clear()


def _decoded(value: bytes) -> InferenceFinished | None:
    """A terminal record; None when it cannot be read, which is for others to complain of."""
    try:
        return decode_record(value, InferenceFinished)
    except PoisonRecord:
        return None
