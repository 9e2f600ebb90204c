"""Lets identical requests share one call: what is done about the decisions of ``flights.py``."""

import asyncio
import contextlib
import logging
from collections.abc import Container, Iterable, Sequence

from prometheus_client import CollectorRegistry

from services.cache_lookup.burying import buried_if_it_fails
from services.cache_lookup.consequences import Share, consequence
from services.cache_lookup.decide import BYPASS, MISS, is_expired
from services.cache_lookup.emits import (
    Hops,
    expired,
    joined_chunk,
    passed_on,
    refused,
    shared,
)
from services.cache_lookup.flights import Flight, Flights, Joiner, in_order
from services.cache_lookup.metrics import JoinMetrics
from services.shared.codec.records import decode_record
from services.shared.domain.emit import Emit
from services.shared.domain.errors import PoisonRecord
from services.shared.domain.events import (
    CacheMissed,
    CacheOutcome,
    InferenceFinished,
    InferenceRequested,
    Outcome,
)
from services.shared.ports.clock import Clock
from services.shared.ports.work import OpenRecord

_LOG = logging.getLogger(__name__)
_TEND_EVERY_S = 0.25
_INFORMED_WITHIN_S = 1.0
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
        flights: Flights[Requested] | None = None,
    ) -> None:
        """Know of no flights, or of those that are given."""
        self.is_anybody_waiting = asyncio.Event()
        self._clock = clock
        self._began_ms = clock.now_ms()
        self._is_informed = asyncio.Event()
        self._flights: Flights[Requested] = Flights() if flights is None else flights
        self._metrics = JoinMetrics(registry, waiting=self._waiting_count)

    # -- requests --------------------------------------------------------------------------------

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
            self._flights.lead(request, bypasses=bypasses, now_ms=now_ms)
            return None
        flight, answer = found
        if answer is not None:
            self._metrics.note(Outcome.COMPLETED)
            return shared(request, answer, follows=False, hops=hops, now_ms=now_ms)
        joiner = Joiner(request, record, hops, bypasses, len(record.value))
        self._join(flight, joiner)
        return joiner

    async def announce(self, joiner: Waiting) -> None:
        """Tell the joiner's client whose tokens to follow, where there are some to follow."""
        request = joiner.request
        flight = self._flights.joined.get(request.request_id)
        if flight is not None and joiner.follows:
            await joiner.record.emit(joined_chunk(request, flight.leader_id))

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

    def found(self, missed: Iterable[CacheMissed]) -> None:
        """Take requests that were on their way to a model before this process knew of them."""
        now_ms = self._clock.now_ms()
        for miss in missed:
            if not is_expired(miss.request, now_ms=now_ms):
                bypasses = miss.cache.outcome == CacheOutcome.BYPASS
                self._flights.lead(miss.request, bypasses=bypasses, now_ms=now_ms)
        self._is_informed.set()

    async def tend(self) -> None:
        """Keep deadlines and forget what is over, until cancelled."""
        while True:
            await asyncio.sleep(_TEND_EVERY_S)
            await self.tidy()

    async def tidy(self) -> None:
        """End joiners whose deadline has passed; give up flights whose end never came."""
        now_ms = self._clock.now_ms()
        for joiner in self._flights.expired(now_ms):
            flight = self._flights.joined.get(joiner.request.request_id)
            if flight is not None:  # else its leader has ended while others were told
                self._flights.leave(joiner.request.request_id)
                await self._expire(joiner, flight.leader_id)
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
                await self._share(joiner, finished)
            elif result is Share.RUN_AGAIN:
                again.append(joiner)
            else:
                now_ms = self._clock.now_ms()
                emits = refused(
                    joiner.request, result, flight.leader_id, hops=joiner.hops, now_ms=now_ms
                )
                await self._end(joiner, emits, Outcome.FAILED)
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
                self._flights.lead(request, bypasses=bypasses, now_ms=now_ms, reruns=reruns)
                evidence = (BYPASS if bypasses else MISS).evidence
                await self._end(
                    joiner, (passed_on(request, evidence, hops=joiner.hops),), "run_again"
                )
            elif found[1] is not None:
                await self._share(joiner, found[1])
            else:
                self._join(found[0], joiner)
                await self.announce(joiner)

    async def _share(self, joiner: Waiting, finished: InferenceFinished) -> None:
        emits = shared(
            joiner.request,
            finished,
            follows=joiner.follows,
            hops=joiner.hops,
            now_ms=self._clock.now_ms(),
        )
        await self._end(joiner, emits, Outcome.COMPLETED)

    async def _expire(self, joiner: Waiting, leader_id: str) -> None:
        now_ms = self._clock.now_ms()
        emits = expired(joiner.request, leader_id, hops=joiner.hops, now_ms=now_ms)
        await self._end(joiner, emits, Outcome.EXPIRED)

    async def _end(self, joiner: Waiting, emits: Iterable[Emit], ended: str) -> None:
        self._metrics.note(ended)
        with buried_if_it_fails(joiner.record):
            for emit in emits:
                await joiner.record.emit(emit)
            joiner.record.finish()

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
            if finished is not None and finished.outcome == Outcome.COMPLETED:
                return flight, finished
            self._flights.forget(flight)

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
