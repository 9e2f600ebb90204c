"""How joiners end: their records are written, counted and finished."""

from collections.abc import Iterable

from services.cache_lookup.burying import buried_if_it_fails
from services.cache_lookup.emits import refused, shared
from services.cache_lookup.flights import Joiner
from services.cache_lookup.metrics import JoinMetrics
from services.shared.domain.emit import Emit
from services.shared.domain.errors import PublicError
from services.shared.domain.events import InferenceFinished, InferenceRequested, Outcome
from services.shared.ports.clock import Clock
from services.shared.ports.work import OpenRecord

Waiting = Joiner[OpenRecord[InferenceRequested]]


class Ends:
    """Ends joiners."""

    def __init__(self, *, clock: Clock, metrics: JoinMetrics) -> None:
        """Use a clock, and count what came of whom."""
        self._clock = clock
        self._metrics = metrics

    async def share(self, joiner: Waiting, finished: InferenceFinished) -> None:
        """Give a joiner its leader's answer."""
        emits = shared(
            joiner.request,
            finished,
            follows=joiner.follows,
            hops=joiner.hops,
            now_ms=self._clock.now_ms(),
        )
        await self.write(joiner, emits, Outcome.COMPLETED)

    async def refuse(self, joiner: Waiting, error: PublicError, leader_id: str) -> None:
        """Give a joiner its leader's error."""
        now_ms = self._clock.now_ms()
        emits = refused(joiner.request, error, leader_id, hops=joiner.hops, now_ms=now_ms)
        await self.write(joiner, emits, Outcome.FAILED)

    async def write(self, joiner: Waiting, emits: Iterable[Emit], ended: str) -> None:
        """Write the last records of a joiner.

        Args:
            joiner: The joiner.
            emits: The records.
            ended: What came of it, as it is counted.
        """
        self._metrics.note(ended)
        with buried_if_it_fails(joiner.record):
            for emit in emits:
                await joiner.record.emit(emit)
            joiner.record.finish()
