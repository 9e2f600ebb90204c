"""Takes requests to the semantic tier beside the polls, so that exact hits never wait for it.

Requests gather while others are compared, so a busy look-up compares many at once. Who has waited
for as long as the tier may take is a miss, and so is, at once, who would.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

import msgspec

from services.cache_lookup.burying import buried_if_it_fails
from services.cache_lookup.decide import MISS, Hit, NoHit
from services.cache_lookup.emits import Hops
from services.cache_lookup.joining import Requested
from services.cache_lookup.similar.tier import SemanticTier
from services.cache_lookup.similar.turns import USUAL_PACE_S, Waiting, paced, turn
from services.shared.domain.events import InferenceRequested

_LOG = logging.getLogger(__name__)
WITHIN_S = 0.05
"""Longest time between the exact tier's miss and the semantic tier's answer."""


class Sought(msgspec.Struct, frozen=True, eq=False):
    """A request that the exact tier missed.

    Attributes:
        record: Its record.
        request: What it says.
        hops: Stages that it passed.
    """

    record: Requested
    request: InferenceRequested
    hops: Hops


Conclude = Callable[[Sought, Hit | NoHit], Awaitable[None]]
"""Passes on a request with what was found for it."""


class Seeking:
    """The requests of a process that are to be compared by meaning."""

    def __init__(self, tier: SemanticTier) -> None:
        """Start without any; ``run`` has to run beside."""
        self._tier = tier
        self._waiting: list[Waiting[Sought]] = []
        self._pace_s = USUAL_PACE_S
        self._held: set[int] = set()  # ids of records in here
        self._has_come = asyncio.Event()

    def takes(self, request: InferenceRequested) -> bool:
        """Whether a request that the exact tier missed comes here."""
        return self._tier.compares(request)

    def holds(self, record: Requested) -> bool:
        """Whether a record is here already: its poll is processed again."""
        return id(record) in self._held

    def take(self, sought: Iterable[Sought]) -> None:
        """Take requests; each is concluded in some ms."""
        due_s = asyncio.get_running_loop().time() + WITHIN_S
        for it in sought:
            self._held.add(id(it.record))
            self._waiting.append(Waiting(due_s, it.request.priority, it))
        self._has_come.set()

    async def run(self, conclude: Conclude) -> None:
        """Compare, and conclude each request, until cancelled."""
        while True:
            await self._has_come.wait()
            now_s = asyncio.get_running_loop().time()
            chosen = turn(self._waiting, now_s=now_s, pace_s=self._pace_s)
            self._waiting = chosen.later
            if not self._waiting:
                self._has_come.clear()
            for it in chosen.late:
                await self._end(it.work, self._tier.missed_late(), conclude)
            if chosen.now:
                until_s = min(it.due_s for it in (*chosen.now, *chosen.later))
                await self._compare([it.work for it in chosen.now], until_s, conclude)

    async def _compare(self, batch: list[Sought], until_s: float, conclude: Conclude) -> None:
        verdicts: list[Hit | NoHit]
        clock = asyncio.get_running_loop()
        began_s = clock.time()
        try:
            requests = [it.request for it in batch]
            verdicts = await self._tier.look_up(requests, within_s=until_s - began_s)
        except Exception as error:  # noqa: BLE001  # a cache that is broken is a miss, no error
            _LOG.error("a semantic look-up failed", extra={"error": type(error).__name__})
            verdicts = [MISS] * len(batch)
        self._pace_s = paced(self._pace_s, count=len(batch), took_s=clock.time() - began_s)
        for it, verdict in zip(batch, verdicts, strict=True):
            await self._end(it, verdict, conclude)

    async def _end(self, it: Sought, verdict: Hit | NoHit, conclude: Conclude) -> None:
        try:
            with buried_if_it_fails(it.record):
                await conclude(it, verdict)
        finally:
            self._held.discard(id(it.record))
