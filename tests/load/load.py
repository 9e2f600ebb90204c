"""Drives load at one server: closed or open loop."""

import asyncio
import functools
import math
import random
from time import monotonic
from urllib.parse import urlsplit

from tests.load.answers import Answer, Fault, StreamedAnswer, WholeAnswer
from tests.load.connection import Exchange
from tests.load.plan import ClosedLoop, OpenLoop, Plan
from tests.load.pool import Pool
from tests.load.requests import supply_of
from tests.load.tally import Tally

_MS_PER_S = 1000.0
_MOST_FAILURES = 1000
"""Beyond these the server is down: no more requests start."""


class Load:
    """One run of a plan.

    Attributes:
        tally: What came of it.
        most_open: Most requests that were open at once.
    """

    def __init__(self, plan: Plan) -> None:
        """Prepare everything that is slow."""
        place = urlsplit(plan.url)
        self._plan = plan
        self._requests = supply_of(plan)
        self._loop = asyncio.get_running_loop()
        self._pool = Pool(
            host=place.hostname or "",
            port=place.port or 80,
            timeout_s=plan.timeout_s,
            ended=self._ended,
        )
        self._dice = random.Random(plan.seed)
        self._open = 0
        self.most_open = 0
        self._until_s = 0.0
        self._is_starting = False
        self._is_over = self._loop.create_future()
        self.tally = Tally()

    @property
    def sent(self) -> int:
        """Requests sent."""
        return self._requests.sent

    @property
    def connections(self) -> int:
        """Connections opened."""
        return self._pool.opened

    async def connect(self) -> None:
        """Open the connections of a closed loop, so that the run does not begin with that.

        Raises:
            OSError: The server does not take them.
        """
        if isinstance(self._plan.arrivals, ClosedLoop):
            await self._pool.open(self._plan.arrivals.in_flight)

    async def run(self) -> float:
        """Send, and wait for every answer.

        Returns:
            How long it took until the last answer, seconds.
        """
        began_s = monotonic()
        self._until_s = began_s + self._plan.duration_s
        self._is_starting = True
        match self._plan.arrivals:
            case ClosedLoop(in_flight=in_flight):
                for _ in range(in_flight):
                    self._start(intended_s=monotonic())
            case OpenLoop() as arrivals:
                self._arrive(arrivals, due_s=began_s)
        await self._is_over
        self._pool.close()
        return monotonic() - began_s

    def _start(self, *, intended_s: float) -> None:
        if not self._may_start():
            self._is_starting = False
        if self._is_starting:
            self._open += 1
            self.most_open = max(self.most_open, self._open)
            exchange = Exchange(self._requests.next(), self._answer(), intended_s=intended_s)
            self._pool.submit(exchange)
        elif self._open == 0 and not self._is_over.done():
            self._is_over.set_result(None)

    def _may_start(self) -> bool:
        most = self._plan.most_requests
        return (
            monotonic() < self._until_s
            and (most == 0 or self._requests.sent < most)
            and self.tally.errors.total() < _MOST_FAILURES
        )

    def _answer(self) -> Answer:
        return (
            StreamedAnswer(self.tally.gaps)
            if self._plan.stream
            else WholeAnswer(self._plan.operation)
        )

    def _arrive(self, arrivals: OpenLoop, *, due_s: float) -> None:
        """Start a request that was due at a time, and plan the next one from that time on."""
        self._start(intended_s=due_s)
        if not self._is_starting:
            return
        mean_s = 1.0 / arrivals.rate_per_s
        wait_s = self._dice.expovariate(1.0 / mean_s) if arrivals.is_poisson else mean_s
        due_s += wait_s
        left_ms = math.ceil((due_s - monotonic()) * _MS_PER_S)  # a timer's unit; never too early
        self._loop.call_later(
            left_ms / _MS_PER_S, functools.partial(self._arrive, arrivals, due_s=due_s)
        )

    def _ended(self, exchange: Exchange, fault: Fault | None, now_s: float) -> None:
        self._open -= 1
        self.tally.ended(exchange, fault, now_s=now_s, until_s=self._until_s)
        if isinstance(self._plan.arrivals, ClosedLoop) or not self._is_starting:
            self._start(intended_s=now_s)
