"""Keeps the shared topics after the look-up short, by letting less urgent lanes wait."""

import asyncio
import logging
from collections.abc import Callable

from services.cache_lookup.decide import held_lanes
from services.shared.domain.errors import Unavailable
from services.shared.ports.backlog import Backlog

_LOG = logging.getLogger(__name__)
LOOK_EVERY_S = 1.0


class Pacing:
    """Looks at the backlog, as long as there is less urgent traffic to hold."""

    def __init__(self, backlog: Backlog, *, hold_lane: Callable[[int, bool], None]) -> None:
        """Hold nothing yet.

        Args:
            backlog: Of the stages after the look-up.
            hold_lane: Pauses (True) or resumes a lane.
        """
        self._backlog = backlog
        self._hold_lane = hold_lane
        self._held: frozenset[int] = frozenset()
        self._traffic = asyncio.Event()

    def saw(self, priority: int) -> None:
        """A request of this priority was taken."""
        if priority:
            self._traffic.set()

    async def run(self) -> None:
        """Look once a second while there is traffic or a lane waits, until cancelled."""
        while True:
            if not self._held:
                await self._traffic.wait()
                self._traffic.clear()
            await self._look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def _look(self) -> None:
        try:
            backlog = await self._backlog.records()
        except Unavailable as error:
            _LOG.info("the backlog cannot be seen", extra={"why": str(error)})
            return  # what waits goes on waiting; what runs goes on running
        held = held_lanes(backlog, held=self._held)
        for lane in held ^ self._held:
            self._hold_lane(lane, lane in held)
        self._held = held
