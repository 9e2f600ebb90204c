"""What all connections of one server share: limits, counters, the sweep and the way to quiet."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable
from email.utils import formatdate
from typing import TYPE_CHECKING

from services.gateway.front_door.limits import FrontDoorLimits
from services.gateway.front_door.refusals import refusal_bytes
from services.shared.domain.errors import PublicError

if TYPE_CHECKING:
    from services.gateway.front_door.connection import Connection


class FrontDoor:
    """Shared state of a server's connections. Belongs to one event loop.

    Attributes:
        limits: Every bound.
        connections: Open ones, also those being refused.
        tasks: Running applications; one may outlive its connection.
        refusals: How often each error code was answered here, without the application. Beside
            the codes, ``stalled_reader`` counts readers that were cut.
        is_draining: Shutdown has begun.
        date_line: The rendered ``date`` header, renewed by the sweep.
        unanswered_body_bytes: Body bytes of the requests whose answer has not begun.
    """

    def __init__(
        self,
        *,
        new_request_id: Callable[[], str],
        limits: FrontDoorLimits | None = None,
    ) -> None:
        self.limits = limits or FrontDoorLimits()
        self.connections: set[Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.refusals: Counter[str] = Counter()
        self.is_draining = False
        self.date_line = b""
        self.unanswered_body_bytes = 0
        self.max_connections = self.limits.max_connections
        self._new_request_id = new_request_id
        # Refused clients come back at different times, else they would come back together.
        self._retry_after_s = itertools.cycle((1, 3, 2, 4))
        self._quiet = asyncio.Event()
        self._sweep_timer: asyncio.TimerHandle | None = None

    def refusal(self, error: PublicError) -> bytes:
        """Count a refusal and render it."""
        self.refusals[error.code] += 1
        return refusal_bytes(
            error,
            request_id=self._new_request_id(),
            date_line=self.date_line,
            retry_after_s=next(self._retry_after_s),
        )

    def start_sweeping(self) -> None:
        """Check time limits every ``sweep_s`` from now on.

        One pass over all connections a second costs less than a timer armed and cancelled for
        every head, body and answer.
        """
        loop = asyncio.get_running_loop()
        self._sweep_timer = loop.call_later(self.limits.sweep_s, self.start_sweeping)
        self.date_line = b"date: %b\r\n" % formatdate(usegmt=True).encode()
        now = loop.time()
        for connection in tuple(self.connections):
            connection.sweep(now)

    def stop_sweeping(self) -> None:
        """End the sweep."""
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()

    def drain(self) -> None:
        """Begin shutdown: no new request is served, idle connections close."""
        self.is_draining = True
        for connection in tuple(self.connections):
            connection.drain()
        self.note_departure()

    def application_ended(self, task: asyncio.Task[None]) -> None:
        """An application's task has ended."""
        self.tasks.discard(task)
        self.note_departure()

    def note_departure(self) -> None:
        """A connection or an application has ended; the last of them makes the server quiet."""
        if self.is_draining and not self.connections and not self.tasks:
            self._quiet.set()

    def reset(self) -> None:
        """Reset every connection that is still open."""
        for connection in tuple(self.connections):
            connection.reset()

    async def is_quiet_within(self, timeout_s: float) -> bool:
        """Wait until every connection and application has ended, at most ``timeout_s``."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._quiet.wait()
        except TimeoutError:
            return False
        return True
