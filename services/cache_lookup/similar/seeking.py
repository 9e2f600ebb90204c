"""Takes requests to the semantic tier beside the polls, so that exact hits never wait for it.

Requests gather while others are compared, so a busy look-up compares many at once. Who has waited
for as long as the tier may take is a miss.
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
from services.shared.domain.events import InferenceRequested

_LOG = logging.getLogger(__name__)
WITHIN_S = 0.05
"""Longest time between the exact tier's miss and the semantic tier's answer."""

_TOGETHER = 16
"""Requests that are compared at once; some 20 ms of encoding."""


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
        self._waiting: list[tuple[float, Sought]] = []  # with when each has waited for too long
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
            self._waiting.append((due_s, it))
        self._has_come.set()

    async def run(self, conclude: Conclude) -> None:
        """Compare, and conclude each request, until cancelled."""
        while True:
            await self._has_come.wait()
            now_s = asyncio.get_running_loop().time()
            late = [it for due_s, it in self._waiting if due_s <= now_s]
            in_time = [(due_s, it) for due_s, it in self._waiting if due_s > now_s]
            in_time.sort(key=lambda waiting: waiting[1].request.priority)
            batch, self._waiting = in_time[:_TOGETHER], in_time[_TOGETHER:]
            if not self._waiting:
                self._has_come.clear()
            for it in late:
                await self._end(it, self._tier.missed_late(), conclude)
            if batch:
                within_s = min(due_s for due_s, _ in batch) - now_s
                await self._compare([it for _, it in batch], within_s, conclude)

    async def _compare(self, batch: list[Sought], within_s: float, conclude: Conclude) -> None:
        verdicts: list[Hit | NoHit]
        try:
            verdicts = await self._tier.look_up([it.request for it in batch], within_s=within_s)
        except Exception as error:  # noqa: BLE001  # a cache that is broken is a miss, no error
            _LOG.error("a semantic look-up failed", extra={"error": type(error).__name__})
            verdicts = [MISS] * len(batch)
        for it, verdict in zip(batch, verdicts, strict=True):
            await self._end(it, verdict, conclude)

    async def _end(self, it: Sought, verdict: Hit | NoHit, conclude: Conclude) -> None:
        try:
            with buried_if_it_fails(it.record):
                await conclude(it, verdict)
        finally:
            self._held.discard(id(it.record))
